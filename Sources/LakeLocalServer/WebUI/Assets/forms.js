// @ts-check
/** Forms that keep what was typed when the server says no, ask before they destroy, search while one types, and know refs. */
import { note } from "./live.js";

/**
 * Shows in a form why it was refused.
 * @param {HTMLFormElement} form
 * @param {string} reason
 */
function refuse(form, reason) {
  let line = form.querySelector(":scope > .refused");
  if (!line) {
    line = document.createElement("p");
    line.className = "error refused";
    line.setAttribute("role", "alert");
    form.prepend(line);
  }
  line.textContent = reason;
}

/** @param {HTMLFormElement} form @param {HTMLElement | null} button */
async function send(form, button) {
  const fields = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string") fields.append(name, value);
  if (button instanceof HTMLButtonElement) button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const response = await fetch(form.action, { method: "POST", body: fields, headers: { "X-Part": "form" } });
    const text = await response.text();
    const place = response.headers.get("X-Location");
    if (place) {
      location.href = place;
      return;
    }
    if (response.redirected) {
      location.href = response.url;
      return;
    }
    const page = new DOMParser().parseFromString(text, "text/html");
    if (!response.ok) {
      const more = [...page.querySelectorAll("#error li")].map((item) => item.textContent).join(", ");
      refuse(form, (page.querySelector(".reason")?.textContent ?? "It failed.") + (more ? " " + more : ""));
      return;
    }
    // A page that is shown once, as a new key pair is.
    const main = document.getElementById("main");
    const fresh = page.getElementById("main");
    if (main && fresh) {
      main.replaceWith(fresh);
      fresh.focus();
      document.dispatchEvent(new CustomEvent("replaced", { detail: fresh }));
    }
  } catch {
    refuse(form, "The server did not answer: look whether it was done, then try again.");
  } finally {
    form.removeAttribute("aria-busy");
    if (button instanceof HTMLButtonElement) button.disabled = false;
  }
}

/** @param {(root: ParentNode) => void} prepare */
export function startForms(prepare) {
  document.addEventListener("replaced", (event) => {
    if (event instanceof CustomEvent) prepare(event.detail);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.method !== "post") return;
    if (form.dataset.ask && !confirm(form.dataset.ask)) {
      event.preventDefault();
      return;
    }
    event.preventDefault();
    send(form, event.submitter);
  });
  let timer = 0;
  document.addEventListener("input", (event) => {
    const field = event.target;
    if (!(field instanceof HTMLInputElement)) return;
    clearTimeout(timer);
    if (field.closest("form[data-search]")) timer = setTimeout(() => search(field, prepare), 150);
    else if (field.hasAttribute("list") && field.closest("[data-picker]")) timer = setTimeout(() => suggest(field), 120);
  });
  document.addEventListener("focusin", (event) => {
    const field = event.target;
    if (field instanceof HTMLInputElement && field.hasAttribute("list") && field.list?.childElementCount === 0) suggest(field);
  });
}

/**
 * Shows what is found while one types.
 * @param {HTMLInputElement} field
 * @param {(root: ParentNode) => void} prepare
 */
async function search(field, prepare) {
  const address = new URL(location.href);
  address.searchParams.delete("after");
  if (field.value) address.searchParams.set(field.name, field.value);
  else address.searchParams.delete(field.name);
  try {
    const response = await fetch(address, { headers: { "X-Part": "list" } });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const [old, fresh] = [document.getElementById("list"), page.getElementById("list")];
    if (!response.ok || !old || !fresh || field.value !== (address.searchParams.get(field.name) ?? "")) return;
    old.replaceWith(fresh);
    prepare(fresh);
    history.replaceState(null, "", address);
  } catch {
    note("The server did not answer: the list is as it was.");
  }
}

/**
 * Branches and tags that begin with what was typed.
 * @param {HTMLInputElement} field
 */
async function suggest(field) {
  const from = field.closest("[data-picker]");
  const list = field.list;
  if (!(from instanceof HTMLElement) || !list) return;
  try {
    const response = await fetch(`${from.dataset.picker}?prefix=${encodeURIComponent(field.value)}`);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(`<datalist>${await response.text()}</datalist>`, "text/html");
    list.replaceChildren(...page.querySelectorAll("option"));
  } catch {
    // One types without suggestions.
  }
}
