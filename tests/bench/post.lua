-- What wrk posts: the file that its first argument names, as JSON, with the token that its second one is.
function init(args)
  local file = io.open(args[1])
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  if args[2] then wrk.headers["Authorization"] = "Bearer " .. args[2] end
end

function done(summary)
  local errors = summary.errors
  print(string.format('{"answered": %d, "failed": %d, "elapsed": %f}', summary.requests - errors.status,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6))
end
