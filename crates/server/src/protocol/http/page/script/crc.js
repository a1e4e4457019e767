'use strict';

// CRC-32 as gzip has it, eight bytes a step.

const CRC_TABLES = (() => {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
    tables[0][byte] = crc;
  }
  for (let step = 1; step < 8; step++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[step - 1][byte];
      tables[step][byte] = (before >>> 8) ^ tables[0][before & 255];
    }
  }
  return tables;
})();

// Returns the CRC of all that `crc` has seen and of `buffer` after it.
function crc32(crc, buffer) {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = CRC_TABLES;
  const view = new DataView(buffer);
  const length = buffer.byteLength;
  let at = 0;
  crc = ~crc;
  for (; at + 8 <= length; at += 8) {
    const low = view.getInt32(at, true) ^ crc;
    const high = view.getInt32(at + 4, true);
    crc = t7[low & 255] ^ t6[(low >>> 8) & 255] ^ t5[(low >>> 16) & 255] ^ t4[low >>> 24]
      ^ t3[high & 255] ^ t2[(high >>> 8) & 255] ^ t1[(high >>> 16) & 255] ^ t0[high >>> 24];
  }
  for (; at < length; at++) crc = t0[(crc ^ view.getUint8(at)) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// The four bytes of a CRC, the first one first, as base64.
function crcBase64(crc) {
  return btoa(String.fromCharCode(crc >>> 24, (crc >>> 16) & 255, (crc >>> 8) & 255, crc & 255));
}

// Returns the CRC in a field such as `crc32=:iIiIiA==:`, or null.
function crcOfField(field) {
  const found = /(?:^|[\s,])crc32=:([A-Za-z0-9+/]{6}==):/.exec(field || '');
  if (!found) return null;
  const bytes = atob(found[1]);
  return [0, 1, 2, 3].reduce((crc, at) => ((crc << 8) | bytes.charCodeAt(at)) >>> 0, 0);
}
