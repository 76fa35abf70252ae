// @ts-check
/** Files that are dropped on a folder, or chosen for it, go straight to the API, four at a time. */
import { note, refresh } from "./live.js";

const atOnce = 4;

/**
 * @param {string} address of the folder; the name goes behind it.
 * @param {string} name
 * @param {File} file
 * @param {(sent: number) => void} progress
 * @returns {Promise<void>}
 */
function send(address, name, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address + encodeURIComponent(name).replaceAll("%2F", "/"));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => progress(event.loaded);
    request.onload = () => {
      if (request.status < 300) return resolve();
      let reason = `HTTP ${request.status}`;
      try {
        reason = JSON.parse(request.responseText).message ?? reason;
      } catch {
        // The status has to do.
      }
      reject(new Error(`${name}: ${reason}`));
    };
    request.onerror = () => reject(new Error(`${name}: the server did not answer`));
    request.send(file);
  });
}

/**
 * @param {string} address
 * @param {{ name: string, file: File }[]} files
 */
async function sendAll(address, files) {
  const place = document.getElementById("notes");
  if (!place || files.length === 0) return;
  const line = document.createElement("p");
  line.className = "note";
  const bar = document.createElement("progress");
  const text = document.createElement("span");
  line.append(bar, " ", text);
  place.replaceChildren(line);
  const all = files.reduce((sum, item) => sum + item.file.size, 0);
  const sent = new Map();
  const began = performance.now();
  let done = 0;
  const show = () => {
    const bytes = [...sent.values()].reduce((sum, count) => sum + count, 0);
    bar.max = Math.max(all, 1);
    bar.value = bytes;
    const rate = bytes / Math.max(0.001, (performance.now() - began) / 1000);
    const left = rate > 0 ? Math.ceil((all - bytes) / rate) : 0;
    text.textContent = `${done} of ${files.length} files, ${(rate / 1048576).toFixed(1)} MiB/s, ${left} s left`;
  };
  const queue = [...files];
  /** @type {string[]} */
  const failures = [];
  const work = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) {
      try {
        await send(address, item.name, item.file, (count) => {
          sent.set(item, count);
          show();
        });
        sent.set(item, item.file.size);
        done += 1;
        show();
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
    }
  };
  show();
  await Promise.all(Array.from({ length: atOnce }, work));
  if (failures.length > 0) note(`${done} of ${files.length} files are there. ${failures.slice(0, 5).join("; ")}`);
  else line.textContent = `${done} ${done === 1 ? "file" : "files"} uploaded, uncommitted.`;
  await refresh();
}

/**
 * Files of what was dropped, those in folders too.
 * @param {DataTransfer} transfer
 */
async function dropped(transfer) {
  /** @type {{ name: string, file: File }[]} */
  const found = [];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return [...transfer.files].map((file) => ({ name: file.name, file }));
  /** @param {FileSystemEntry} entry @param {string} before @returns {Promise<void>} */
  const walk = async (entry, before) => {
    if (entry instanceof FileSystemFileEntry || entry.isFile) {
      const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
      found.push({ name: before + entry.name, file });
      return;
    }
    const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
    for (;;) {
      /** @type {FileSystemEntry[]} */
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) return;
      for (const each of some) await walk(each, `${before}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return found;
}

export function startUpload() {
  document.addEventListener("change", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement) || !field.dataset.upload) return;
    sendAll(field.dataset.upload, [...(field.files ?? [])].map((file) => ({ name: file.name, file })));
    field.value = "";
  });
  const target = () => document.querySelector("[data-drop]");
  addEventListener("dragover", (event) => {
    const place = target();
    if (!place || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    place.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) target()?.classList.remove("dropping");
  });
  addEventListener("drop", async (event) => {
    const place = target();
    if (!(place instanceof HTMLElement) || !event.dataTransfer) return;
    event.preventDefault();
    place.classList.remove("dropping");
    await sendAll(place.dataset.drop ?? "", await dropped(event.dataTransfer));
  });
}
