-- What wrk sends: arguments are the kind of request, a file of customers, a file of products and a tag.
local kind, tag
local customers, products, n = {}, {}, 0

local function lines_of(file, into)
  for line in io.lines(file) do into[#into + 1] = line end
end

local function event(i)
  local number = n * 100 + i
  local how = number % 2 == 0 and '"kind":"view","channel":"web"' or '"kind":"purchase","channel":"store","value":2.5'
  return string.format('{"event_id":"%s-%d",%s,"customer_id":"%s","product_id":"%s"}', tag, number,
    how, customers[number % #customers + 1], products[number % #products + 1])
end

function init(args)
  kind, tag = args[1], args[4]
  lines_of(args[2], customers)
  lines_of(args[3], products)
end

function request()
  n = n + 1
  local body
  if kind == "decide" then
    -- a question that nobody asked before: a decision that is in the log already would cost no write
    body = string.format('{"customer_id":"%s","exclude":["%s-%d"]}', customers[n % #customers + 1], tag, n)
  elseif kind == "events" then
    local events = {}
    for i = 1, 100 do events[i] = event(i) end
    body = '{"events":[' .. table.concat(events, ",") .. "]}"
  else
    body = string.format('{"customer_id":"%s"}', customers[n % #customers + 1])
  end
  return wrk.format("POST", nil, { ["content-type"] = "application/json" }, body)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nJSON {"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"refused":%d,"broken":%d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.status,
    e.connect + e.read + e.write + e.timeout))
end
