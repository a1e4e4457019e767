// The queue of uploads, and the panel that shows it.

// Several at a time hide the waits of each; more of them only share the same line.
const ACTIVE_UPLOADS = 3;
const SHOWN_ENDED = 5;
const REFRESH_MS = 250;
const RATE_MS = 5000;

// What one upload is told by the user: to pause, to go on, to stop.
class Control {
  constructor(queue) {
    this.queue = queue;
    this.controller = new AbortController();
    this.isCancelled = false;
  }

  get signal() {
    return this.controller.signal;
  }

  async goesOn() {
    await this.queue.unpaused;
    if (this.isCancelled) throw new Stopped();
    if (this.signal.aborted) this.controller = new AbortController();
  }

  sleep(milliseconds) {
    return new Promise((resolve) => {
      setTimeout(resolve, milliseconds);
      this.signal.addEventListener('abort', resolve);
    });
  }

  pause() {
    this.controller.abort();
  }

  cancel() {
    this.isCancelled = true;
    this.controller.abort();
  }

  askToReplace(upload) {
    return this.queue.askToReplace(upload);
  }
}

class Queue {
  constructor(area, panel) {
    this.area = area;
    this.panel = panel;
    this.waiting = [];
    this.active = new Map();
    this.ended = [];
    this.directories = new Map();
    this.unpaused = Promise.resolve();
    this.resume = null;
    this.question = Promise.resolve();
    this.decisionForAll = null;
    this.forget();
    this.build();
  }

  // Begins to count anew.
  forget() {
    Object.assign(this, { files: 0, bytes: 0, endedBytes: 0, movedBefore: 0, done: 0, verified: 0, failed: 0, samples: [] });
    this.decisionForAll = null;
  }

  get isBusy() {
    return this.waiting.length > 0 || this.active.size > 0;
  }

  add(file, name) {
    if (!this.isBusy) {
      this.forget();
      this.ended.forEach(({ row }) => row.remove());
      this.ended = [];
    }
    this.files += 1;
    this.bytes += file.size;
    this.waiting.push(new Upload(file, name));
    this.fill();
  }

  fill() {
    while (this.active.size < ACTIVE_UPLOADS && this.waiting.length > 0) {
      const upload = this.waiting.shift();
      const control = new Control(this);
      this.active.set(upload, { control, row: this.rowOf(upload, control) });
      this.perform(upload, control);
    }
    this.show();
  }

  async perform(upload, control) {
    const { row } = this.active.get(upload);
    try {
      await control.goesOn();
      await this.makeDirectory(upload.name.slice(0, Math.max(upload.name.lastIndexOf('/'), 0)), control);
      await upload.run(control);
      this.done += 1;
      if (upload.detail.startsWith('verified')) this.verified += 1;
    } catch (error) {
      if (error instanceof Stopped) {
        await upload.discard();
        upload.say('failed', 'cancelled');
      } else {
        upload.say('failed', error instanceof Refused ? error.message : `failed: ${error.message}`);
      }
      this.failed += 1;
      announce(`${shownName(upload.name)}: ${upload.detail}`);
    }
    this.active.delete(upload);
    this.endedBytes += upload.file.size;
    this.movedBefore += upload.moved;
    this.end(upload, row);
    this.fill();
    if (!this.isBusy) this.finish();
  }

  // Failures stay until they are tried again or the next uploads begin; of the others the last ones are shown.
  end(upload, row) {
    this.showRow(upload, row);
    const failed = upload.state === 'failed';
    row.className = failed ? 'bad' : 'good';
    row.querySelector('progress').remove();
    row.querySelector('button').remove();
    if (failed) {
      row.append(button('Try again', () => {
        row.remove();
        this.ended = this.ended.filter((other) => other.row !== row);
        this.add(upload.file, upload.name);
      }, { ariaLabel: `Try again: ${shownName(upload.name)}` }));
    }
    this.ended.push({ failed, row });
    const good = this.ended.filter((other) => !other.failed);
    for (const old of good.slice(0, Math.max(good.length - SHOWN_ENDED, 0))) {
      old.row.remove();
      this.ended.splice(this.ended.indexOf(old), 1);
    }
  }

  finish() {
    this.show();
    announce(this.headline());
    refreshListing();
  }

  // Makes a directory below this one, and those that it lies in, once.
  makeDirectory(name, control) {
    if (name === '') return Promise.resolve();
    if (!this.directories.has(name)) {
      const making = (async () => {
        await this.makeDirectory(name.slice(0, Math.max(name.lastIndexOf('/'), 0)), control);
        for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
          try {
            const answer = await request('MKCOL', `${urlBelow(name)}/`);
            if (answer.status === 201 || answer.status === 405) return;
            if (answer.status < 500 || answer.status === 507) throw new Refused(reasonOf(answer));
          } catch (error) {
            if (!(error instanceof Interrupted)) throw error;
          }
          await control.sleep(pause);
          await control.goesOn();
        }
      })();
      this.directories.set(name, making);
      making.catch(() => this.directories.delete(name));
    }
    return this.directories.get(name);
  }

  // One question at a time; other uploads go on meanwhile.
  askToReplace(upload) {
    const asked = this.question.then(() => this.ask(upload));
    this.question = asked.catch(() => {});
    return asked;
  }

  async ask(upload) {
    if (!('replace' in this.area.dataset)) return 'denied';
    if (this.decisionForAll) return this.decisionForAll;
    const all = element('input', { type: 'checkbox' });
    const content = [element('p', { textContent: `${shownName(upload.name)} is there already. Replace it?` })];
    if (this.files > 1) content.push(element('label', { className: 'check' }, all, 'Do the same for all others'));
    const decision = await openDialog({
      title: 'Replace the file?',
      content,
      buttons: [{ text: 'Skip', value: 'skip' }, { text: 'Replace', value: 'replace', className: 'danger' }],
    }) || 'skip';
    if (all.checked) this.decisionForAll = decision;
    return decision;
  }

  pause() {
    if (this.resume) return;
    this.unpaused = new Promise((resolve) => { this.resume = resolve; });
    for (const { control } of this.active.values()) control.pause();
    this.samples = [];
    announce('Paused');
    this.show();
  }

  goOn() {
    this.resume?.();
    this.resume = null;
    announce('Going on');
    this.show();
  }

  cancelAll() {
    this.files -= this.waiting.length;
    this.bytes -= this.waiting.reduce((sum, upload) => sum + upload.file.size, 0);
    this.waiting = [];
    for (const { control } of this.active.values()) control.cancel();
    this.goOn();
  }

  build() {
    this.words = element('p');
    this.pauseButton = button('Pause', () => (this.resume ? this.goOn() : this.pause()));
    this.buttons = element('div', { className: 'buttons' }, this.pauseButton, button('Cancel all', () => this.cancelAll()));
    this.bar = element('progress', { max: 1, value: 0, ariaLabel: 'All uploads' });
    this.list = element('ul');
    this.panel.append(element('div', { className: 'head' }, this.words, this.buttons), this.bar, this.list);
    setInterval(() => this.isBusy && this.show(), REFRESH_MS);
    addEventListener('beforeunload', (event) => {
      if (this.isBusy) event.preventDefault();
    });
  }

  rowOf(upload, control) {
    const row = element('li', {},
      element('span', { className: 'what', textContent: shownName(upload.name) }),
      element('span', { className: 'state' }),
      element('progress', { max: Math.max(upload.file.size, 1), value: 0, ariaLabel: shownName(upload.name) }),
      button('Cancel', () => control.cancel(), { ariaLabel: `Cancel ${shownName(upload.name)}` }));
    this.list.append(row);
    return row;
  }

  showRow(upload, row) {
    const sizes = `${shownSize(upload.sent)} of ${shownSize(upload.file.size)}`;
    const words = {
      waiting: 'waiting',
      sending: this.resume ? `${sizes}, paused` : sizes,
      checking: `checking ${upload.detail}`,
      asking: 'is there already',
      interrupted: `${sizes}, ${upload.detail}`,
      done: `${shownSize(upload.file.size)}, ${upload.detail}`,
      failed: upload.detail,
    };
    const state = row.querySelector('.state');
    if (state.textContent !== words[upload.state]) state.textContent = words[upload.state];
    const bar = row.querySelector('progress');
    if (bar) bar.value = upload.sent;
  }

  show() {
    this.panel.hidden = !this.isBusy && this.list.children.length === 0;
    for (const [upload, { row }] of this.active) this.showRow(upload, row);
    const sum = (of) => [...this.active.keys()].reduce((all, upload) => all + of(upload), 0);
    const sent = this.endedBytes + sum((upload) => upload.sent);
    this.sample(this.movedBefore + sum((upload) => upload.moved));
    this.words.textContent = this.headline(sent);
    this.bar.hidden = this.buttons.hidden = !this.isBusy;
    this.bar.value = this.bytes > 0 ? sent / this.bytes : 0;
    this.pauseButton.textContent = this.resume ? 'Go on' : 'Pause';
  }

  headline(sent) {
    if (this.isBusy) {
      const parts = [
        `Uploading ${counted(this.files, 'file')}`,
        `${this.done + this.failed} done`,
        `${shownSize(sent)} of ${shownSize(this.bytes)}`,
      ];
      const rate = this.rate();
      if (this.resume) parts.push('paused');
      else if (rate > 0) parts.push(`${shownSize(rate)}/s`, `${shownSeconds((this.bytes - sent) / rate)} left`);
      return parts.join(' \u00b7 ');
    }
    if (this.files === 0) return 'Uploads that were interrupted';
    const kept = this.verified === this.done ? 'verified and on disk' : 'on disk';
    const failed = this.failed > 0 ? `, ${this.failed} not` : '';
    return `${counted(this.done, 'file')} ${kept}${failed}`;
  }

  sample(moved) {
    const now = performance.now();
    this.samples.push({ now, moved });
    while (now - this.samples[0].now > RATE_MS) this.samples.shift();
  }

  // Bytes a second, over the last seconds.
  rate() {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    const seconds = (last.now - first.now) / 1000;
    return seconds >= 1 ? (last.moved - first.moved) / seconds : 0;
  }

  // Tells of uploads into this directory that an earlier page began. A page can't open a file again by itself.
  async showInterrupted() {
    const here = Object.entries(remembered.all()).filter(([, upload]) => upload.directory === directoryName);
    for (const [key, upload] of here.slice(0, SHOWN_ENDED)) {
      const answer = await request('HEAD', upload.url, { fields: TUS }).catch(() => null);
      if (answer && answer.status >= 400 && answer.status < 500) {
        remembered.remove(key);
        continue;
      }
      const sent = answer ? Number(answer.field('Upload-Offset')) : 0;
      const row = element('li', {},
        element('span', { className: 'what', textContent: shownName(upload.name) }),
        element('span', {
          className: 'state',
          textContent: `${shownSize(sent)} of ${shownSize(upload.size)} are on the server. Choose or drop the same file again to go on.`,
        }),
        button('Discard', () => {
          row.remove();
          remembered.remove(key);
          request('DELETE', upload.url, { fields: TUS }).catch(() => {});
          this.show();
        }, { ariaLabel: `Discard what was sent of ${shownName(upload.name)}` }));
      this.list.append(row);
      // As the file is added again, its own row takes this one's place.
      this.ended.push({ failed: true, row });
    }
    this.show();
  }
}

// Finds all files of what was dropped, however deep.
async function addEntry(queue, entry, prefix = '') {
  const name = prefix + entry.name;
  if (entry.isFile) {
    queue.add(await new Promise((resolve, reject) => entry.file(resolve, reject)), name);
    return;
  }
  queue.makeDirectory(name, new Control(queue)).catch((error) => complain(`${shownName(name)}: ${error.message}`));
  const reader = entry.createReader();
  for (;;) {
    // It gives some at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const inner of some) await addEntry(queue, inner, `${name}/`);
  }
}

function takeDrops(queue) {
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  let depth = 0;
  const mark = (change) => {
    depth = change === 0 ? 0 : depth + change;
    document.body.classList.toggle('dropping', depth > 0);
  };
  addEventListener('dragenter', (event) => hasFiles(event) && mark(1));
  addEventListener('dragleave', (event) => hasFiles(event) && mark(-1));
  addEventListener('dragover', (event) => hasFiles(event) && event.preventDefault());
  addEventListener('drop', async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    mark(0);
    // They are gone once this handler waits for anything.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length > 0 ? [] : [...event.dataTransfer.files];
    for (const file of files) queue.add(file, file.name);
    for (const entry of entries) {
      await addEntry(queue, entry).catch((error) => complain(`${shownName(entry.name)}: ${error.message}`));
    }
  });
}

function prepareUploads() {
  const area = document.getElementById('upload');
  if (!area || directoryName === null) return;
  const queue = new Queue(area, document.getElementById('transfers'));
  for (const input of area.querySelectorAll('input[type="file"]')) {
    input.addEventListener('change', () => {
      for (const file of input.files) queue.add(file, file.webkitRelativePath || file.name);
      input.value = '';
    });
  }
  takeDrops(queue);
  area.hidden = false;
  queue.showInterrupted();
}
