// One file on its way to the server: whole by PUT, or in pieces by tus, which go on after a cut, a restart or a reload.

// Files up to this size are one request: they are quick to send again.
const WHOLE_BYTES = 8 << 20;
// A cut costs at most one piece; and each piece costs an answer.
const PIECE_BYTES = 16 << 20;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15000;

// The connection broke, or the server has no time: the request can be made again.
class Interrupted extends Error {}
// The user stopped it, or paused.
class Stopped extends Error {}
// It can't be done.
class Refused extends Error {}

// Makes a request. Resolves with any answer; rejects with Interrupted or Stopped.
function request(method, url, { fields = {}, body = null, progress = null, signal = null } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new Stopped());
    const xhr = new XMLHttpRequest();
    const stop = () => xhr.abort();
    const ended = (act) => () => {
      signal?.removeEventListener('abort', stop);
      act();
    };
    xhr.open(method, url);
    for (const [key, value] of Object.entries(fields)) xhr.setRequestHeader(key, value);
    if (progress) xhr.upload.onprogress = (event) => progress(event.loaded);
    xhr.onload = ended(() => {
      resolve({ status: xhr.status, text: xhr.responseText, field: (name) => xhr.getResponseHeader(name) });
    });
    xhr.onerror = ended(() => reject(new Interrupted('no answer')));
    xhr.onabort = ended(() => reject(new Stopped()));
    signal?.addEventListener('abort', stop);
    xhr.send(body);
  });
}

// Uploads that can go on, by file, in the memory of this browser.
const remembered = {
  KEY: 'ferry-uploads',
  all() {
    try {
      return JSON.parse(localStorage.getItem(this.KEY)) || {};
    } catch {
      return {};
    }
  },
  change(act) {
    try {
      const all = this.all();
      act(all);
      localStorage.setItem(this.KEY, JSON.stringify(all));
    } catch {
      // No memory here: an upload then goes on as long as the page is open.
    }
  },
  put(key, upload) {
    this.change((all) => { all[key] = upload; });
  },
  remove(key) {
    this.change((all) => { delete all[key]; });
  },
};

class Upload {
  // `name` is the file's name below this directory.
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.sent = 0;
    // Bytes that went over the wire, some perhaps twice: the rate is made of them.
    this.moved = 0;
    this.state = 'waiting';
    this.detail = '';
    this.replaces = false;
    // The CRC of the file's start, by the length of that start.
    this.crcs = new Map([[0, 0]]);
  }

  get key() {
    return JSON.stringify([directoryName + this.name, this.file.size, this.file.lastModified]);
  }

  get seconds() {
    // The server has no times before 1970.
    return (Math.max(this.file.lastModified, 0) / 1000).toFixed(3);
  }

  // Sends the file, however often the connection breaks or the user pauses.
  async run(control) {
    let pause = FIRST_PAUSE_MS;
    let reached = this.sent;
    for (;;) {
      try {
        await control.goesOn();
        this.say('sending');
        await (this.file.size <= WHOLE_BYTES ? this.sendWhole(control) : this.sendPieces(control));
        return;
      } catch (error) {
        if (!(error instanceof Interrupted)) {
          if (error instanceof Stopped && !control.isCancelled) continue;
          throw error;
        }
        if (this.sent > reached) pause = FIRST_PAUSE_MS;
        reached = Math.max(reached, this.sent);
        // Those that broke off together do not come back together.
        const wait = pause * (0.75 + Math.random() / 2);
        this.say('interrupted', `${error.message}; next try in ${shownSeconds(wait / 1000)}`);
        await control.sleep(wait);
        pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
      }
    }
  }

  say(state, detail = '') {
    this.state = state;
    this.detail = detail;
  }

  progress(sent) {
    const before = this.sent;
    this.sent = Math.min(sent, this.file.size);
    this.moved += Math.max(this.sent - before, 0);
  }

  // What is taken is asked for, until the user says that it is to be replaced.
  condition() {
    return this.replaces ? {} : { 'If-None-Match': '*' };
  }

  async sendWhole(control) {
    const body = await this.read(0, this.file.size);
    const crc = crc32(0, body);
    const answer = await request('PUT', urlBelow(this.name), {
      body,
      fields: { ...this.condition(), 'Repr-Digest': `crc32=:${crcBase64(crc)}:`, 'X-OC-Mtime': this.seconds },
      progress: (sent) => this.progress(sent),
      signal: control.signal,
    });
    if (answer.status === 412 && !this.replaces) {
      this.replaces = await this.mayReplace(control);
      return this.sendWhole(control);
    }
    this.expect(answer, [200, 201, 204]);
    this.progress(this.file.size);
    this.compare(crc, crcOfField(answer.field('Repr-Digest')));
  }

  async sendPieces(control) {
    const url = remembered.all()[this.key]?.url || await this.begin(control);
    const state = await request('HEAD', url, { fields: TUS, signal: control.signal });
    if (state.status === 404 || state.status === 410 || state.status === 403) {
      remembered.remove(this.key);
      throw new Interrupted('the server no longer has what was sent');
    }
    // It is whole, and its name was taken meanwhile.
    if (state.status === 412) return this.replaceTaken(url, control);
    this.expect(state, [200, 204]);
    let at = Number(state.field('Upload-Offset'));
    let digest = crcOfField(state.field('Repr-Digest'));
    let crc = await this.crcOfStart(at, control);
    this.say('sending');
    this.sent = at;
    let next = this.pieceAt(at, crc);
    while (at < this.file.size) {
      const piece = await next;
      // The next one is read while this one is on its way.
      next = this.pieceAt(piece.end, piece.crc);
      const from = at;
      const answer = await request('PATCH', url, {
        // Not the bytes that were read: the browser sends a file without bringing it here.
        body: this.file.slice(at, piece.end),
        fields: {
          ...TUS,
          'Content-Type': 'application/offset+octet-stream',
          'Upload-Offset': String(at),
          'Upload-Checksum': `crc32 ${crcBase64(piece.ownCrc)}`,
        },
        progress: (sent) => this.progress(from + sent),
        signal: control.signal,
      });
      if (answer.status === 409 || answer.status === 460) throw new Interrupted('the server has something else');
      if (answer.status === 412) return this.replaceTaken(url, control);
      if (answer.status === 404 || answer.status === 410) {
        remembered.remove(this.key);
        throw new Interrupted('the server no longer has what was sent');
      }
      this.expect(answer, [200, 204]);
      at = Number(answer.field('Upload-Offset'));
      if (at !== piece.end) throw new Interrupted('the server took a part of it');
      crc = piece.crc;
      this.crcs.set(at, crc);
      digest = crcOfField(answer.field('Repr-Digest'));
      this.progress(at);
    }
    remembered.remove(this.key);
    this.compare(crc, digest);
  }

  // Reads the piece that begins there, after a start with the CRC `before`.
  pieceAt(at, before) {
    const reading = (async () => {
      const end = Math.min(at + PIECE_BYTES, this.file.size);
      const bytes = await this.read(at, end);
      return { end, ownCrc: crc32(0, bytes), crc: crc32(before, bytes) };
    })();
    // One that nobody waits for any more fails for nobody.
    reading.catch(() => {});
    return reading;
  }

  // Begins an upload in pieces, and returns its URL.
  async begin(control) {
    const answer = await request('POST', `${urlBelow(this.name)}?tus`, {
      fields: { ...TUS, ...this.condition(), 'Upload-Length': String(this.file.size), 'Upload-Metadata': `mtime ${btoa(this.seconds)}` },
      signal: control.signal,
    });
    if (answer.status === 412 && !this.replaces) {
      this.replaces = await this.mayReplace(control);
      return this.begin(control);
    }
    this.expect(answer, [201]);
    const url = answer.field('Location');
    remembered.put(this.key, { url, name: this.name, directory: directoryName, size: this.file.size, at: Date.now() });
    return url;
  }

  // The name was taken while the file was on its way: what was sent is for a free name alone.
  async replaceTaken(url, control) {
    remembered.remove(this.key);
    await request('DELETE', url, { fields: TUS });
    this.replaces = await this.mayReplace(control);
    this.sent = 0;
    return this.sendPieces(control);
  }

  async mayReplace(control) {
    this.say('asking');
    const decision = await control.askToReplace(this);
    if (decision === 'skip') throw new Refused('left as it was');
    if (decision === 'denied') throw new Refused('is there already');
    this.say('sending');
    return true;
  }

  // Drops what the server has of it.
  async discard() {
    const { url } = remembered.all()[this.key] || {};
    remembered.remove(this.key);
    if (url) await request('DELETE', url, { fields: TUS }).catch(() => {});
  }

  // Returns the CRC of the file's first bytes, which were sent before.
  async crcOfStart(length, control) {
    let at = Math.max(...[...this.crcs.keys()].filter((known) => known <= length));
    let crc = this.crcs.get(at);
    while (at < length) {
      this.say('checking', `what was sent, ${Math.floor((100 * at) / length)} %`);
      const end = Math.min(at + PIECE_BYTES, length);
      crc = crc32(crc, await this.read(at, end));
      at = end;
      this.crcs.set(at, crc);
      if (control.signal.aborted) throw new Stopped();
    }
    return crc;
  }

  async read(from, to) {
    try {
      return await this.file.slice(from, to).arrayBuffer();
    } catch {
      throw new Refused('it can not be read, or has changed since it was chosen');
    }
  }

  expect(answer, statuses) {
    if (statuses.includes(answer.status)) return;
    if ([408, 423, 425, 429, 500, 502, 503, 504].includes(answer.status)) throw new Interrupted(reasonOf(answer));
    throw new Refused(reasonOf(answer));
  }

  compare(own, server) {
    if (server !== null && server !== own) throw new Refused('what is there differs from what was read here');
    this.say('done', server === null ? 'on disk' : 'verified and on disk');
  }
}

const TUS = { 'Tus-Resumable': '1.0.0' };
