"""A state of a batch in, the kernel's dense arrays of it out, to be folded on or written."""

import numpy as np

from features.state import kernel, layout
from features.state.batch import StateBatch
from features.state.layout import Scratch


def to_scratch(state: StateBatch, row: int = 0) -> Scratch:
    """Customer `row` of a batch as arrays that the kernel folds into."""
    s = kernel.new_scratch()
    s.scalars[:] = state.scalars[row]
    s.channels[:] = state.channels[row]
    codes = state.pair_codes[row]
    s.pair_codes[: len(codes)], s.pair_slots[codes] = codes, np.arange(len(codes))
    s.pairs[: len(codes)] = state.pair_stats[row]
    hours = state.hour_bins[row]
    s.hour_bins[: len(hours)], s.hour_slots[hours] = hours, np.arange(len(hours))
    s.hour_weights[: len(hours)] = state.hour_weights[row]
    contacts = state.contacts[row]
    channels = contacts[:, 0].astype(np.int64)
    s.n_contacts[:] = np.bincount(channels, minlength=layout.N_CHANNELS)
    s.contacts[channels, np.arange(len(channels)) - np.searchsorted(channels, channels)] = contacts[:, 1]
    n_seq, n_habits, n_cart = len(state.seq_product[row]), len(state.habit_product[row]), len(state.cart_product[row])
    s.seq_product[:n_seq] = state.seq_product[row]
    s.seq_event[:n_seq] = state.seq_event[row]
    s.seq_time[:n_seq] = state.seq_time[row]
    s.seq_value[:n_seq] = state.seq_value[row]
    s.habit_codes[:n_habits] = state.habit_product[row]
    s.habits[:n_habits] = state.habit_stats[row]
    s.forgotten[:] = state.forgotten[row]
    s.cart_codes[:n_cart] = state.cart_product[row]
    s.cart[:n_cart] = state.cart_stats[row]
    n_exposed = len(state.exposure_code[row])
    s.exposure_codes[:n_exposed] = state.exposure_code[row]
    s.exposures[:n_exposed] = state.exposure_stats[row]
    cursors = s.cursors
    cursors[layout.N_PAIRS], cursors[layout.LAST_SEQ] = len(codes), state.last_seq[row]
    cursors[layout.N_SEQ], cursors[layout.SEQ_HEAD] = n_seq, n_seq % layout.SEQUENCE_LENGTH
    cursors[layout.N_HOURS_USED] = len(hours)
    cursors[layout.N_HABIT], cursors[layout.N_IN_CART] = n_habits, n_cart
    cursors[layout.N_EXPOSED] = n_exposed
    kernel.derive(s)
    return s
