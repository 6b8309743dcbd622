import { ABSENT, CHECKED, HELD, LATE, MARKED, PER_LIMIT, RESOLVED, UNCOVERED, UNREADABLE } from '../script-protocol.js';

/** The arguments and the reply of the script; its first part. */
export const INPUT = `
-- Executes requests on buckets, one after the other, at one instant.
-- KEYS     the buckets' keys, in the order in which the requests name them; a replacement also names its new bucket
-- ARGV[1]  numbers, as a JSON array:
--   now in ms (-1: the server's time), least TTL in ms, latest server time in ms (-1: no limit)
--   number of policies; of each: block in ms, number of limits; of each limit:
--     kind (the id of its algorithm, negative if it is soft), capacity, weight, refill, period, slot; a calendar quota has
--     in the last three the start, the boundary and the end of the two periods around the boundary nearest to now
--   then runs of requests that differ only in their keys; of each: verb, number of requests, number of takes;
--     of each take: policy (from 1), ${RESOLVED} if its numbers were resolved for the request,
--     ${HELD} and id, waited, nextWaited, count, sequence (${ABSENT}: absent) of its holder if it takes a slot,
--     ${MARKED} and its mark if it has one, amount (${PER_LIMIT}: an amount for each limit follows; ${CHECKED}: 0, but the
--     limit must have some left), maxWait in ms (-1: no limit)
--     then the number of arguments of the verb, and these: cancel, put: actAt per take; block: duration; hold:
--     id, count, sequence and waited of the holder (${ABSENT}: absent);
--     replace: policy, strategy, for each new limit the old one that it takes over from (0: none)
-- Reply    the rows of all requests one after the other as doubles in one string (see answer.ts). The row of a request
--          with an unreadable bucket is one ${UNREADABLE}; then the reply is a list of that string and of a message for
--          each such request. A request whose bucket needs another period of the calendar is not executed: its row is
--          ${UNCOVERED} and the instant. If the command arrived too late, the reply is ${LATE} and the server's time, and
--          nothing was changed
local input = cjson.decode(ARGV[1])
local now, leastTtl, latest = input[1], input[2], input[3]
local serverTime = redis.call('TIME')
local serverNow = serverTime[1] * 1000 + math.floor(serverTime[2] / 1000)
if latest >= 0 and serverNow > latest then return struct.pack('<dd', ${LATE}, serverNow) end
if now < 0 then now = serverNow end

-- Where the current run starts in the input, behind the policies; how many requests of it are left, and the next one's key.
local place = 5
for _ = 1, input[4] do place = place + 2 + 6 * input[place + 1] end
local left, nextKey = input[place + 1], 1
-- The rows of the reply, and the states that the general path has opened, by key.
local rows, opened = {}
`;
