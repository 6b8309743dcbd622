import { concurrency, RETRY_HINT, WAITING_TTL } from '../../../core/algorithms/concurrency.js';
import { AMOUNT_PER_TOKEN } from '../../../core/amount.js';
import { ABSENT, HELD, VERB_CODES } from '../script-protocol.js';
import { COMPACT_END } from './stored-state.lua.js';

/** The fast path of slots: those of one concurrency limit. As fast-path.lua.ts. */
export const CONCURRENCY_FAST_PATH = `
-- Takes a slot for the holder \`id\`, or without \`amount\` reports its slots. \`waited\`, \`nextWaited\` and \`sequence\`
-- (with \`count\`) are nil if absent. Returns the row of the reply, or nil without having changed anything if an entry has
-- expired, or the stored value is not compact: such a request needs the general path.
local function changeSlots(input, policy, key, stored, now, leastTtl, id, waited, nextWaited, amount, maxWait, count, sequence)
  local packs, unpacks, max = struct.pack, struct.unpack, math.max
  local length, others, latest = 0, 0, 0
  -- Since when another process waits.
  local first
  local isKnown, place, held, expiry, last, since, waitsUntil = false, 13, 0, 0, 0, 0, 0
  if stored then
    if #stored < 48 then return end
    length = unpacks('<I6', stored, 7)
    if #stored ~= 12 + 36 * length then return end
    place = #stored + 1
    for at = 13, #stored, 36 do
      local other, slots, ends, reported, start, believed = unpacks('<I6I6I6I6I6I6', stored, at)
      if ends <= now or (start > 0 and believed <= now) then return end
      if other == id then
        isKnown, place, held, expiry, last, since, waitsUntil = true, at, slots, ends, reported, start, believed
      else
        others, latest = others + slots, max(latest, ends)
        if start > 0 and (not first or start < first) then first = start end
      end
    end
  end
  local started = waited and max(1, now - waited)
  local allowed, taken, isChanged = true, 0, true
  if sequence then
    if sequence < last or sequence >= ${COMPACT_END} then return end
    held, last, expiry = count, sequence, max(now + input[policy + 6], waitsUntil)
  end
  local free = input[policy + 3] / ${AMOUNT_PER_TOKEN} - others - held
  if amount then
    local start = started and since > 0 and since < started and since or started
    if start then allowed = not first or first >= start else allowed = not first and since == 0 end
    allowed = allowed and free > 0
    if allowed then
      if nextWaited then
        since, waitsUntil = max(1, now - nextWaited), now + ${WAITING_TTL}
      elseif waited then
        since, waitsUntil = 0, 0
      end
      held, free, taken = held + 1, free - 1, amount
      expiry = max(now + input[policy + 6], waitsUntil)
    elseif maxWait ~= 0 then
      since, waitsUntil = start or since > 0 and since or now, now + ${WAITING_TTL}
      expiry = max(expiry, waitsUntil)
    else
      isChanged = sequence
    end
  else
    if not (isKnown or count > 0 or waited) then return end
    since, waitsUntil = started or 0, started and now + ${WAITING_TTL} or 0
    expiry = max(now + input[policy + 6], waitsUntil)
  end
  local isUsed = held > 0 or since > 0
  if isUsed then latest = max(latest, expiry) end
  local state = stored or ''
  if isChanged then
    length = length - (isKnown and 1 or 0) + (isUsed and 1 or 0)
    local entry = isUsed and packs('<I6I6I6I6I6I6', id, held, expiry, last, since, waitsUntil) or ''
    state = packs('<I6I6', now, length) .. string.sub(state, 13, place - 1) .. entry .. string.sub(state, place + 36)
  end
  -- Those that are granted a slot, and the one that may take one.
  local granted, turn
  if free > 0 and (first or since > 0) and (allowed or sequence) then
    for _ = 1, free do
      local longest, next
      for at = 13, #state, 36 do
        local start = unpacks('<I6', state, at + 24)
        if start > 0 and (not longest or start < longest) then longest, next = start, at end
      end
      if not next then break end
      local other, slots, ends, reported = unpacks('<I6I6I6I6', state, next)
      if amount or reported == 0 then
        if not amount or other ~= id then turn = other end
        break
      end
      local entry = packs('<I6I6I6I6I6I6', other, slots + 1, ends, reported, 0, 0)
      state = string.sub(state, 1, next - 1) .. entry .. string.sub(state, next + 36)
      free = free - 1
      if other == id then
        taken = ${AMOUNT_PER_TOKEN}
      else
        granted = granted or {}
        granted[other] = reported
      end
    end
  end
  if isChanged and length == 0 then
    redis.call('DEL', key)
  elseif isChanged then
    local ttl = latest - now
    redis.call('SET', key, state, 'PX', ttl < leastTtl and leastTtl or ttl)
  end
  if turn then redis.call('PUBLISH', string.format('%s:%.0f', key, turn), string.format('%.0f', free)) end
  for holder, reported in pairs(granted or {}) do
    redis.call('PUBLISH', string.format('%s:%.0f', key, holder), string.format('%.0f %.0f', free, reported))
  end
  local more = free > 0 and 0 or ${RETRY_HINT}
  local mayTake = allowed
  -- The \`retryAfter\` of a report is that of a new request.
  if not amount then mayTake = free > 0 and not turn end
  local retry = mayTake and 0 or ${RETRY_HINT}
  local timeToFull = latest > now and latest - now or 0
  return packs('<ddddddddd', allowed and 1 or 0, 0, taken, now, 0, free * ${AMOUNT_PER_TOKEN}, retry, timeToFull, more)
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
          local id, count, sequence, waited = input[place + 7], input[place + 8], input[place + 9], input[place + 10]
          if waited == ${ABSENT} then waited = nil end
          if count >= 0 then
            row = changeSlots(input, policy, key, stored, now, leastTtl, id, waited, nil, nil, 0, count, sequence)
          end
          stop = place + 11
        elseif input[place] == ${VERB_CODES.take} and input[place + 10] >= 0 then
          local id, waited, nextWaited = input[place + 5], input[place + 6], input[place + 7]
          local count, sequence, amount, maxWait = input[place + 8], input[place + 9], input[place + 10], input[place + 11]
          if waited == ${ABSENT} then waited = nil end
          if nextWaited == ${ABSENT} then nextWaited = nil end
          if sequence == ${ABSENT} then sequence = nil end
          row = changeSlots(
            input, policy, key, stored, now, leastTtl, id, waited, nextWaited, amount, maxWait, count, sequence
          )
          stop = place + 13
        end
      end
    end
  end
`;
