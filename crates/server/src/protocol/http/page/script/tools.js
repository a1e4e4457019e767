// Elements, words and questions.

// Makes an element. Text is always text: nothing here reads markup.
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function button(text, action, properties = {}) {
  const made = element('button', { type: 'button', textContent: text, ...properties });
  made.addEventListener('click', action);
  return made;
}

// As the server's pages have sizes.
function shownSize(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  let value = bytes / 1024;
  let unit = 0;
  for (; value >= 999.5 && unit < 5; unit++) value /= 1024;
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][unit]}`;
}

function shownSeconds(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${(seconds / 3600).toFixed(1)} h` : `${Math.round(seconds / 86400)} days`;
}

function counted(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

// Control and bidi characters could make a name look like another one.
function shownName(name) {
  return name.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Cn}\p{Cs}\u202a-\u202e\u2066-\u206f]/gu, (odd) => `\\u{${odd.codePointAt(0).toString(16)}}`);
}

// Times are written in UTC by the server, which does not know where the reader is.
function showLocalTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  for (const time of root.querySelectorAll('time[datetime]')) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    time.title = `${time.textContent} UTC`;
    time.textContent = format.format(date);
  }
  for (const zone of root.querySelectorAll('.zone')) zone.remove();
}

// Says something to those who don't see it.
const liveRegion = element('p', { className: 'unseen' });
liveRegion.setAttribute('role', 'status');
document.body.append(liveRegion);

function announce(text) {
  liveRegion.textContent = text;
}

// Shows a failure at the top of the page, until the next one.
function complain(text) {
  document.querySelector('.message')?.remove();
  const message = element('p', { className: 'message', textContent: text });
  message.setAttribute('role', 'alert');
  document.querySelector('h1')?.after(message);
}

// Opens a dialog and returns the value of the button that closed it; '' where it was left. Escape leaves it.
function openDialog({ title, content, buttons, className = '' }) {
  return new Promise((resolve) => {
    const heading = element('h2', { id: 'dialog-title', textContent: title });
    const row = element('div', { className: 'buttons' });
    const form = element('form', { method: 'dialog' }, heading, ...content, row);
    const dialog = element('dialog', { className }, form);
    dialog.setAttribute('aria-labelledby', heading.id);
    for (const { text, value, className: kind = '' } of buttons) {
      row.append(element('button', { type: value === '' ? 'button' : 'submit', value, textContent: text, className: kind }));
      if (value === '') row.lastChild.addEventListener('click', () => dialog.close(''));
    }
    const before = document.activeElement;
    dialog.addEventListener('close', () => {
      dialog.remove();
      if (before && before.isConnected) before.focus();
      resolve(dialog.returnValue);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Returns the sentence of a failed answer: the server's own, which is plain text.
function reasonOf(answer) {
  const text = /^text\/plain/.test(answer.field('Content-Type') || '') ? answer.text.trim().slice(0, 300) : '';
  return text ? `${shownName(text)}` : `the server answered ${answer.status}`;
}

// The name of this directory from the root, with a slash at its end; '' is the root. Null where the path is no name.
const directoryName = (() => {
  try {
    return decodeURIComponent(location.pathname.slice(1));
  } catch {
    return null;
  }
})();

// The path of a name below this directory.
function urlBelow(name) {
  return location.pathname + name.split('/').map(encodeURIComponent).join('/');
}
