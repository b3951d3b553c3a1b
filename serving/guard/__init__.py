"""What keeps the service answering in trouble: servers that hang, senders that are slow, disks that are full."""
