import { concurrency, RETRY_HINT } from '../../../core/algorithms/concurrency.js';
import { AMOUNT_PER_TOKEN } from '../../../core/amount.js';
import { ABSENT, HELD, VERB_CODES } from '../script-protocol.js';
import { COMPACT_END } from './stored-state.lua.js';

/** The fast path of slots: those of one concurrency limit, while no process waits. As fast-path.lua.ts. */
export const CONCURRENCY_FAST_PATH = `
-- Adds a slot to those of the holder \`id\`, or sets them to \`count\`. Returns the row of the reply, or nil without having
-- changed anything if the request or the stored value needs the general path.
local function changeSlots(input, policy, key, stored, now, leastTtl, id, amount, count, sequence, mayDeny)
  local packs, unpacks = struct.pack, struct.unpack
  local capacity, isTake, length = input[policy + 3], not count, 0
  local others, latest, own, held, last, expiry = 0, 0, nil, 0, 0, 0
  if stored then
    if #stored < 48 then return end
    length = unpacks('<I6', stored, 7)
    if #stored ~= 12 + 36 * length then return end
    for place = 13, #stored, 36 do
      local other, slots, ends, reported, since = unpacks('<I6I6I6I6I6', stored, place)
      if ends <= now or since > 0 then return end
      if other == id then
        own, held, expiry, last = place, slots, ends, reported
      else
        others = others + slots
        if ends > latest then latest = ends end
      end
    end
  end
  if isTake then
    local balance = capacity - (others + held) * ${AMOUNT_PER_TOKEN}
    if balance <= 0 then
      if not mayDeny then return end
      if expiry > latest then latest = expiry end
      return packs('<ddddddddd', 0, 0, 0, now, 0, balance, ${RETRY_HINT}, latest - now, ${RETRY_HINT})
    end
    count, sequence = held + 1, last
  elseif sequence < last or sequence >= ${COMPACT_END} or (count == 0 and not own) then
    return
  end
  if count > 0 then
    expiry = now + input[policy + 6]
    if expiry > latest then latest = expiry end
  end
  if others == 0 and length - (own and 1 or 0) == 0 then
    if count == 0 then
      redis.call('DEL', key)
    else
      local ttl = latest - now
      local state = packs('<I6I6I6I6I6I6I6I6', now, 1, id, count, expiry, sequence, 0, 0)
      redis.call('SET', key, state, 'PX', ttl < leastTtl and leastTtl or ttl)
    end
  else
    local entry = count == 0 and '' or packs('<I6I6I6I6I6I6', id, count, expiry, sequence, 0, 0)
    length = length + (own and 0 or 1) - (count == 0 and 1 or 0)
    own = own or #stored + 1
    local state = packs('<I6I6', now, length) .. string.sub(stored, 13, own - 1) .. entry .. string.sub(stored, own + 36)
    local ttl = latest - now
    redis.call('SET', key, state, 'PX', ttl < leastTtl and leastTtl or ttl)
  end
  local balance = capacity - (others + count) * ${AMOUNT_PER_TOKEN}
  local more = balance > 0 and 0 or ${RETRY_HINT}
  local timeToFull = latest > now and latest - now or 0
  return packs('<ddddddddd', 1, 0, isTake and amount or 0, now, 0, balance, isTake and 0 or more, timeToFull, more)
end
`;

/** Sets `row` if the next request is a plain take or report of slots of a bucket that the general path has not opened. */
export const CHANGE_SLOTS_FAST = `
  if (amount == ${HELD} or input[place] == ${VERB_CODES.hold}) and input[place + 2] == 1 and not (opened and opened[key]) then
    for _ = 2, input[place + 3] do policy = policy + 2 + 6 * input[policy + 1] end
    if input[policy + 1] == 1 and input[policy + 2] == ${concurrency.id} then
      local stored, at = redis.pcall('GET', key), now
      if stored and #stored >= 12 then at = struct.unpack('<I6', stored) end
      if at <= now and now < ${COMPACT_END} then
        if input[place] == ${VERB_CODES.hold} then
          local id, count, sequence = input[place + 7], input[place + 8], input[place + 9]
          if count >= 0 and input[place + 10] == ${ABSENT} then
            row = changeSlots(input, policy, key, stored, now, leastTtl, id, 0, count, sequence)
          end
        elseif input[place] == ${VERB_CODES.take} and input[place + 6] == ${ABSENT} and input[place + 7] == ${ABSENT} then
          amount = input[place + 8]
          if amount >= 0 then
            local mayDeny = input[place + 9] == 0
            row = changeSlots(input, policy, key, stored, now, leastTtl, input[place + 5], amount, nil, nil, mayDeny)
          end
        end
        stop = place + 11
      end
    end
  end
`;
