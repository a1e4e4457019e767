// Uploads a file by tus-js-client: at once; aborted in the middle and resumed; in pieces that begin with the creation; and
// one that is terminated.
const fs = require("node:fs");
const tus = require("tus-js-client");

const [url, path] = process.argv.slice(2);
const endpoint = `${url.replace(/\/+$/, "")}/?tus`;

const upload = (name, more = {}, begun = () => {}) =>
  new Promise((resolve, reject) => {
    const task = new tus.Upload(fs.createReadStream(path), {
      endpoint,
      uploadSize: fs.statSync(path).size,
      chunkSize: 1_000_000,
      retryDelays: null,
      metadata: { filename: name },
      onError: reject,
      onSuccess: () => resolve(task),
      onChunkComplete: (_, accepted) => begun(task, accepted, resolve, reject),
      ...more,
    });
    task.start();
  });

const main = async () => {
  await upload("whole");

  const cut = await upload("resumed", {}, (task, accepted, resolve) => {
    if (accepted >= 2_000_000) task.abort().then(() => resolve(task));
  });
  await upload("resumed", { uploadUrl: cut.url });

  await upload("checked", { uploadDataDuringCreation: true });

  await upload("dropped", {}, (task, accepted, resolve, reject) => {
    if (accepted >= 1_000_000) task.abort(true).then(() => resolve(task), reject);
  });
};

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
