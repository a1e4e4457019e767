// Drives a browser through one scenario, for main.rs: node drive.mjs SCENARIO CONFIGURATION
//
// The configuration is JSON: url, files (a directory of our own), chromium, modules (where playwright-core is), and
// bytes, screenshots, secret where a scenario needs them. A line on standard output asks main.rs for something, and a line
// on standard input says that it is done. The scenario failed where the exit status is not 0.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';
import { isDeepStrictEqual } from 'node:util';

const [scenario, text] = process.argv.slice(2);
const { url, files, chromium, modules, bytes, screenshots, secret } = JSON.parse(text);
const require = createRequire(path.join(modules, 'any.js'));
const playwright = require('playwright-core');

// Nothing is waited for longer: a guard against hanging.
const PATIENCE_MS = 240_000;

const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

// Has main.rs do something.
async function ask(what) {
  console.log(what);
  assert.equal((await answers.next()).value, 'done');
}

const browser = await playwright.chromium.launch({ executablePath: chromium, args: ['--no-sandbox'] });

// Opens a page that fails the scenario where a script fails or the policy forbids something.
const faults = [];
async function open(place, options = {}) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.on('pageerror', (error) => faults.push(error.stack));
  page.on('console', (message) => {
    if (/Content Security Policy|Refused to/.test(message.text())) faults.push(message.text());
  });
  const answer = await page.goto(url + place);
  return Object.assign(page, { answer });
}

const names = (page) => page.locator('#files tbody tr:visible bdi').allTextContents();

// Waits until the page lists these names: it takes a listing from the server again by itself.
async function lists(page, expected) {
  const end = Date.now() + PATIENCE_MS;
  let seen = await names(page);
  while (!isDeepStrictEqual(seen, expected) && Date.now() < end) seen = await names(page);
  assert.deepEqual(seen, expected);
}

const headline = (page) => page.locator('#transfers .head p');
const choose = (page, what) => page.setInputFiles('input[name=files]', what);

// Waits until the page says so of its uploads.
async function reads(page, words) {
  await page.waitForFunction(
    ([source]) => new RegExp(source).test(document.querySelector('#transfers .head p').textContent), [words.source], { timeout: PATIENCE_MS });
}

// Waits until so many bytes of the only upload have gone out.
async function sent(page, count) {
  await page.waitForFunction((least) => document.querySelector('#transfers li progress')?.value >= least, count, { polling: 20, timeout: PATIENCE_MS });
}

// Has the page pause as soon as so many bytes of the only upload have gone out, however busy this machine is.
async function pausedAt(page, count) {
  await page.evaluate((least) => new Promise((resolve) => {
    const looking = setInterval(() => {
      if (!(document.querySelector('#transfers li progress')?.value >= least)) return;
      clearInterval(looking);
      document.querySelector('#transfers .buttons button').click();
      resolve();
    }, 5);
  }), count);
  await reads(page, /paused/);
}

const scenarios = {
  async look() {
    const page = await open('/');
    await lists(page, ['b10', 'Grüße', '<b>&"\'#?%2e.txt', 'a.txt', 'B2.txt', 'b10.txt', 'evil\\u{202e}gpj.exe']);
    assert.equal(await page.title(), 'Home');
    await page.getByRole('link', { name: 'Size' }).click();
    assert.equal(await page.locator('th.size').getAttribute('aria-sort'), 'ascending');
    await page.getByRole('link', { name: 'Size' }).click();
    assert.equal((await names(page))[2], 'B2.txt');
    assert.equal(await page.locator('th.size').getAttribute('aria-sort'), 'descending');

    await page.getByRole('searchbox').fill('b');
    const found = ['b10', 'B2.txt', '<b>&"\'#?%2e.txt', 'b10.txt'];
    await lists(page, found);
    await page.getByRole('searchbox').press('Enter');
    await page.waitForURL(/filter=b/);
    await lists(page, found);

    await page.goto(`${url}/`);
    await page.getByRole('link', { name: 'Grüße' }).click();
    assert.equal(decodeURIComponent(new URL(page.url()).pathname), '/Grüße/');
    assert.deepEqual(await page.getByRole('navigation', { name: 'Breadcrumb' }).getByRole('listitem').allTextContents(), ['Home', 'Grüße']);
    await page.getByRole('link', { name: 'Home' }).click();

    // Names with everything in them lead to their files.
    const link = page.getByRole('link', { name: '<b>&"\'#?%2e.txt' });
    assert.equal(await page.evaluate(async (place) => (await fetch(place)).text(), await link.getAttribute('href')), 'odd');
    await page.getByRole('button', { name: 'View <b>&"\'#?%2e.txt' }).click();
    assert.equal(await page.locator('dialog pre').textContent(), 'odd');
    await page.keyboard.press('Escape');
    await page.locator('dialog').waitFor({ state: 'detached' });

    const missing = await open('/missing');
    assert.equal(missing.answer.status(), 404);
    assert.equal(await missing.locator('h1').textContent(), 'Not Found');
  },

  async scriptless() {
    const page = await open('/', { javaScriptEnabled: false });
    assert.equal((await names(page)).length, 7);
    await page.getByRole('link', { name: 'Size' }).click();
    assert.equal(await page.locator('th.size').getAttribute('aria-sort'), 'ascending');
    await page.getByRole('searchbox').fill('b2');
    await page.getByRole('button', { name: 'Filter' }).click();
    await lists(page, ['B2.txt']);
    assert.equal(await page.locator('th.size').getAttribute('aria-sort'), 'ascending');
    await page.getByRole('link', { name: 'Show all' }).click();
    assert.equal((await names(page)).length, 7);
    for (const hidden of ['#upload', '#new-folder', '#transfers']) assert.equal(await page.locator(hidden).isVisible(), false);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: /Download all/ }).click()]);
    assert.equal(download.suggestedFilename(), 'files.tar');
    assert.equal(await download.failure(), null);
  },

  async folder() {
    const folder = path.join(files, 'a <folder> & "more"');
    const content = (n) => `content ${n}\n`.repeat(n);
    for (let n = 0; n < 200; n++) {
      const directory = path.join(folder, n % 3 === 0 ? 'sub/deep ü' : n % 3 === 1 ? 'sub' : '');
      fs.mkdirSync(directory, { recursive: true });
      fs.writeFileSync(path.join(directory, `f${n} #%.txt`), content(n));
    }
    const page = await open('/inbox/');
    await page.setInputFiles('input[name=folder]', folder);
    await reads(page, /^200 files verified and on disk$/);
    await ask('compare inbox');

    // Dropped, not chosen: from another directory, whose files are there already.
    const single = path.join(files, 'single.txt');
    fs.writeFileSync(single, 'one');
    await choose(page, single);
    await page.locator('tr', { hasText: 'single.txt' }).waitFor();
    fs.writeFileSync(single, 'two');
    await choose(page, single);
    await page.getByRole('button', { name: 'Skip' }).click();
    await reads(page, /^0 files verified and on disk, 1 not$/);
    assert.equal(await page.evaluate(async () => (await fetch('./single.txt')).text()), 'one');
    await page.getByRole('button', { name: 'Try again: single.txt' }).click();
    await page.getByRole('button', { name: 'Replace' }).click();
    await reads(page, /^1 file verified and on disk$/);
    assert.equal(await page.evaluate(async () => (await fetch('./single.txt')).text()), 'two');

    await page.getByRole('button', { name: 'New folder' }).click();
    await page.getByRole('textbox', { name: 'Name' }).fill('new <b>&"\'?#% ü');
    await page.keyboard.press('Enter');
    await page.getByRole('link', { name: 'new <b>&"\'?#% ü' }).waitFor();

    for (const name of ['single.txt', 'new <b>&"\'?#% ü']) {
      await page.getByRole('button', { name: `Delete ${name}` }).click();
      await page.getByRole('button', { name: 'Delete', exact: true }).click();
      await page.locator('tr', { hasText: name }).waitFor({ state: 'detached' });
    }
    // A folder with something in it stays, and the page says why.
    await page.getByRole('button', { name: /^Delete a <folder>/ }).click();
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.getByRole('alert').waitFor();
    assert.match(await page.getByRole('alert').textContent(), /empty/);
  },

  async dropped() {
    const page = await open('/inbox/');
    // What a person drops: a transfer of files, made by the page itself since a test has no mouse to drag from outside.
    const transfer = await page.evaluateHandle(() => {
      const made = new DataTransfer();
      for (const name of ['dropped 1.txt', 'dropped 2.txt']) made.items.add(new File([name], name));
      // The server has no times before 1970.
      made.items.add(new File(['old'], 'old.txt', { lastModified: -86400000 }));
      return made;
    });
    await page.dispatchEvent('body', 'dragenter', { dataTransfer: transfer });
    assert.equal(await page.evaluate(() => document.body.className), 'dropping');
    await page.dispatchEvent('body', 'drop', { dataTransfer: transfer });
    await reads(page, /^3 files verified and on disk$/);
    await lists(page, ['dropped 1.txt', 'dropped 2.txt', 'old.txt']);
  },

  async restarted() {
    const page = await open('/inbox/');
    const offsets = [];
    page.on('request', (request) => {
      if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']));
    });
    const big = path.join(files, 'big ü.bin');
    await choose(page, big);
    await sent(page, bytes * 0.3);
    await ask('restart');
    await pausedAt(page, bytes * 0.6);
    assert.ok(offsets.some((offset, n) => n > 0 && offset > 0 && offset <= bytes * 0.6), `${offsets}`);

    // The page is closed in the middle as well; another one goes on where it was.
    page.on('dialog', (dialog) => dialog.accept());
    await page.reload();
    await page.getByText(/are on the server/).waitFor();
    const before = offsets.length;
    await choose(page, big);
    await reads(page, /^1 file verified and on disk$/);
    assert.ok(offsets[before] >= bytes * 0.3, `${offsets}`);
    assert.equal(await page.evaluate(() => localStorage.getItem('ferry-uploads')), '{}');
    await ask('compare big');
    await page.getByRole('button', { name: 'Delete big ü.bin' }).click();
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await page.locator('tr', { hasText: 'big ü.bin' }).waitFor({ state: 'detached' });
  },

  async rights() {
    const page = await open('/');
    await lists(page, ['inbox', 'projects', 'open.txt']);
    for (const absent of ['#upload', '#new-folder', '.actions button:text("Delete")']) assert.equal(await page.locator(absent).count(), 0, absent);
    await page.goto(`${url}/inbox/`);
    assert.match(await page.locator('main').textContent(), /is not shown to you/);
    fs.writeFileSync(path.join(files, 'left.txt'), 'left');
    await choose(page, path.join(files, 'left.txt'));
    await reads(page, /^1 file verified and on disk$/);
    await choose(page, path.join(files, 'left.txt'));
    await reads(page, /^0 files verified and on disk, 1 not$/);
    // A browser that is told of no user asks for one in a window of its own, so this is not its page.
    const refused = await page.request.get(`${url}/projects/secret/`, { headers: { Accept: 'text/html' } });
    assert.equal(refused.status(), 401);
    assert.match(await refused.text(), /<h1>Unauthorized<\/h1>/);

    const known = await open('/projects/', { httpCredentials: { username: 'alice', password: secret } });
    await known.getByRole('link', { name: 'Log in' }).click();
    await known.getByText('Logged in as alice').waitFor();
    assert.equal(new URL(known.url()).pathname, '/projects/');
    await lists(known, ['secret', 'plan.txt']);
    await known.getByRole('button', { name: 'Delete plan.txt' }).waitFor();
    await choose(known, path.join(files, 'left.txt'));
    await reads(known, /^1 file verified and on disk$/);
  },

  async accessible() {
    const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
    const check = async (page) => {
      await page.evaluate(`${axe}; undefined`);
      const { violations } = await page.evaluate(() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes[0].html]), []);
    };
    for (const [colorScheme, viewport] of [['light', { width: 1280, height: 800 }], ['dark', { width: 360, height: 740 }]]) {
      const page = await open('/', { colorScheme, viewport });
      await check(page);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is beside the screen');
      await page.getByRole('button', { name: /^Delete a.txt/ }).click();
      await check(page);
      await page.keyboard.press('Escape');
      await choose(page, path.join(files, 'big ü.bin'));
      await pausedAt(page, 1);
      await check(page);
      await page.getByRole('button', { name: 'Cancel all' }).click();
      await page.locator('#transfers .bad').waitFor();
      await check(page);
      await check(await open('/missing', { colorScheme, viewport }));
      await page.context().close();
    }
    // By keyboard alone: the first stop leads past the header, and a file is deleted.
    const page = await open('/');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
    await page.keyboard.press('Enter');
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent);
    for (let stops = 0; await focused() !== 'Delete a.txt'; stops++) {
      assert.ok(stops < 60);
      await page.keyboard.press('Tab');
    }
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'Keep it');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.locator('tr', { hasText: 'a.txt' }).waitFor({ state: 'detached' });
    assert.equal(await page.locator('.unseen[role=status]').textContent(), 'a.txt is deleted');
  },

  async screenshots() {
    for (const [name, viewport, colorScheme] of [['desktop', { width: 1100, height: 860 }, 'light'], ['phone', { width: 390, height: 860 }, 'dark']]) {
      const page = await open('/Holiday/', { colorScheme, viewport, timezoneId: 'UTC', locale: 'en-GB' });
      await page.request.delete(`${url}/Holiday/big ü.bin`);
      await choose(page, path.join(files, 'big ü.bin'));
      await sent(page, 30e6);
      await page.screenshot({ path: path.join(screenshots, `page-${name}.png`) });
      await page.context().close();
    }
  },
};

try {
  await scenarios[scenario]();
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
}
process.exit(0);
