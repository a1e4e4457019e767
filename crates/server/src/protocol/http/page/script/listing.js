// The listing: actions of its rows, the filter, new folders.

const PICTURES = /\.(avif|bmp|gif|ico|jpe?g|png|svg|webp)$/i;
const TEXTS = /\.(c|cfg|conf|cpp|css|csv|go|h|html?|ini|java|js|json|log|md|py|rs|sh|sql|svg|tex|toml|ts|tsv|txt|xml|ya?ml)$/i;
const PREVIEW_BYTES = 64 << 10;

// Returns the name that a row is shown under, with what could look like another one written out.
function nameOf(row) {
  return row.querySelector('bdi').textContent;
}

function prepareRow(row) {
  const actions = row.querySelector('.actions');
  const link = row.querySelector('.name a');
  const name = nameOf(row);
  if (link && row.classList.contains('file') && (PICTURES.test(name) || TEXTS.test(name))) {
    actions.append(button('View', () => preview(name, link.href), { ariaLabel: `View ${name}` }));
  }
  if (row.dataset.delete) {
    actions.append(button('Delete', () => deleteRow(row, name), { ariaLabel: `Delete ${name}` }));
  }
}

function prepareListing() {
  const listing = document.getElementById('listing');
  if (!listing) return;
  showLocalTimes(listing);
  for (const row of listing.querySelectorAll('tbody tr')) prepareRow(row);
  applyFilter();
}

// Asks the server for this page again, and takes the listing from it.
async function refreshListing() {
  const answer = await request('GET', location.href).catch(() => null);
  if (!answer || answer.status !== 200) return;
  const fresh = new DOMParser().parseFromString(answer.text, 'text/html').getElementById('listing');
  const old = document.getElementById('listing');
  if (!fresh || !old) return;
  old.replaceWith(document.adoptNode(fresh));
  prepareListing();
}

async function deleteRow(row, name) {
  const isDirectory = row.classList.contains('directory');
  const decision = await openDialog({
    title: isDirectory ? 'Delete the folder?' : 'Delete the file?',
    content: [element('p', { textContent: `${name} will be deleted. This can not be undone.` })],
    buttons: [{ text: 'Keep it', value: '' }, { text: 'Delete', value: 'delete', className: 'danger' }],
  });
  if (decision !== 'delete') return;
  const answer = await request('DELETE', row.dataset.delete).catch(() => null);
  if (!answer || answer.status >= 300) {
    complain(`${name}: ${answer ? reasonOf(answer) : 'the server does not answer'}`);
    return;
  }
  await refreshListing();
  announce(`${name} is deleted`);
  document.getElementById('main').focus();
}

async function makeFolder() {
  const input = element('input', { type: 'text', required: true, autocomplete: 'off' });
  const decision = await openDialog({
    title: 'New folder',
    content: [element('label', {}, 'Name', input)],
    buttons: [{ text: 'Cancel', value: '' }, { text: 'Make it', value: 'make', className: 'main' }],
  });
  const name = input.value;
  if (decision !== 'make' || name === '') return;
  const answer = await request('MKCOL', `${location.pathname + encodeURIComponent(name)}/`).catch(() => null);
  if (answer?.status !== 201) {
    const reason = answer?.status === 405 ? 'is there already' : answer ? reasonOf(answer) : 'the server does not answer';
    complain(`${shownName(name)}: ${reason}`);
    return;
  }
  await refreshListing();
  announce(`${shownName(name)} is made`);
}

async function preview(name, url) {
  const content = [];
  if (PICTURES.test(name)) {
    content.push(element('img', { src: url, alt: name }));
  } else {
    const answer = await request('GET', url, { fields: { Range: `bytes=0-${PREVIEW_BYTES - 1}` } }).catch(() => null);
    if (!answer || ![200, 206, 416].includes(answer.status)) {
      complain(`${name}: ${answer ? reasonOf(answer) : 'the server does not answer'}`);
      return;
    }
    // An empty file has no range.
    const text = answer.status === 416 ? '' : answer.text;
    content.push(element('pre', { textContent: text, tabIndex: 0, dir: 'auto' }));
    const whole = Number(/\/(\d+)$/.exec(answer.field('Content-Range') || '')?.[1] || 0);
    if (whole > PREVIEW_BYTES) content.push(element('p', { textContent: `These are the first ${shownSize(PREVIEW_BYTES)} of ${shownSize(whole)}.` }));
  }
  await openDialog({ title: name, content, buttons: [{ text: 'Close', value: '' }], className: 'preview' });
}

// Hides rows at once where all are on this page; otherwise the server looks at all of them.
function applyFilter() {
  const input = document.getElementById('filter-text');
  const rows = document.querySelectorAll('#files tbody tr');
  if (!input || document.querySelector('.pages')) return;
  const wanted = input.value.toLowerCase();
  // The rows are those that the server's filter let through.
  if (!wanted.includes(input.defaultValue.toLowerCase())) return;
  let shown = 0;
  for (const row of rows) {
    row.hidden = !nameOf(row).toLowerCase().includes(wanted);
    shown += row.hidden ? 0 : 1;
  }
  return shown;
}

function prepareTools() {
  const input = document.getElementById('filter-text');
  input?.addEventListener('input', () => {
    const shown = applyFilter();
    if (shown !== undefined) announce(`${counted(shown, 'name')} shown`);
  });
  const folder = document.getElementById('new-folder');
  if (folder) {
    folder.hidden = false;
    folder.addEventListener('click', makeFolder);
  }
}

showLocalTimes(document);
prepareListing();
prepareTools();
prepareUploads();
