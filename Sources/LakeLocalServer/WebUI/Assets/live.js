// @ts-check
/** Keeps an open page as the lake is: parts marked `data-live` are asked for anew when the server says that something changed. */

/** @type {(root: ParentNode) => void} */
let prepare = () => {};
let isBusy = false;
let isStale = false;

/** Asks for the page again and puts its live parts in the place of the old ones. */
export async function refresh() {
  if (isBusy) {
    isStale = true;
    return;
  }
  isBusy = true;
  try {
    const response = await fetch(location.href, { headers: { "X-Part": "live" } });
    if (response.redirected && new URL(response.url).pathname === "/login") {
      note("Your session has ended: sign in again to go on.", "/login?next=" + encodeURIComponent(location.pathname + location.search));
      return;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    if (!response.ok) {
      const reason = page.querySelector(".reason")?.textContent ?? "It is not there any more.";
      note(reason);
      return;
    }
    for (const old of document.querySelectorAll("[data-live]")) {
      const fresh = old.id ? page.getElementById(old.id) : null;
      if (!fresh || fresh.innerHTML === old.innerHTML || isInUse(old)) continue;
      const focused = document.activeElement instanceof HTMLAnchorElement && old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      keepCells(old, fresh);
      old.replaceWith(fresh);
      prepare(fresh);
      if (focused) /** @type {HTMLElement | null} */ (fresh.querySelector(`a[href="${CSS.escape(focused)}"]`))?.focus();
    }
    // A form to commit with comes when there is something to commit, and goes when there is not.
    const form = document.getElementById("commit");
    const freshForm = page.getElementById("commit");
    const list = document.getElementById("list");
    if (!form && freshForm && list) {
      list.before(freshForm);
      prepare(freshForm);
    } else if (form && !freshForm && !isInUse(form)) form.remove();
  } catch {
    // The server is not there: the stream of events tells when it is again.
  } finally {
    isBusy = false;
    if (isStale) {
      isStale = false;
      setTimeout(refresh, 300);
    }
  }
}

/**
 * What was loaded later stays until it is loaded again, so that nothing jumps.
 * @param {Element} old
 * @param {Element} fresh
 */
function keepCells(old, fresh) {
  for (const row of old.querySelectorAll("tr[id]")) {
    const cell = row.querySelector("[data-cell]");
    const place = fresh.querySelector(`#${CSS.escape(row.id)} [data-cell]`);
    if (cell && place) place.innerHTML = cell.innerHTML;
  }
}

/**
 * Whether somebody is at work in a part: typing, choosing, marking.
 * @param {Element} part
 */
function isInUse(part) {
  const active = document.activeElement;
  if (active && part.contains(active) && active.matches("input:not([type=checkbox]), textarea, select")) return true;
  if ([...part.querySelectorAll("input[type=checkbox]")].some((box) => box instanceof HTMLInputElement && box.checked)) return true;
  // What was typed stays, and so does what was said of it.
  if ([...part.querySelectorAll("textarea")].some((field) => field instanceof HTMLTextAreaElement && field.value !== field.defaultValue)) return true;
  const marked = getSelection();
  return marked !== null && !marked.isCollapsed && marked.anchorNode !== null && part.contains(marked.anchorNode);
}

/**
 * Says something at the top of the page.
 * @param {string} text
 * @param {string} [link]
 */
export function note(text, link) {
  const place = document.getElementById("notes");
  if (!place) return;
  const line = document.createElement("p");
  line.className = "note warn";
  line.append(text);
  if (link) {
    const anchor = document.createElement("a");
    anchor.href = link;
    anchor.textContent = " Sign in";
    line.append(anchor);
  }
  place.replaceChildren(line);
}

/** @param {(root: ParentNode) => void} start makes a part work that has been put in. */
export function startLive(start) {
  prepare = start;
  const address = document.body.dataset.liveFrom;
  /** @type {EventSource | undefined} */
  let source;
  let timer = 0;
  const listen = () => {
    if (!address || source) return;
    source = new EventSource(address);
    source.addEventListener("change", () => {
      // Many changes come together: one look at them is enough.
      clearTimeout(timer);
      timer = setTimeout(refresh, 150);
    });
  };
  // A page that nobody sees holds no connection, and catches up when it is seen.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      source = undefined;
    } else {
      listen();
      if (address) refresh();
    }
  });
  if (!document.hidden) listen();
  const every = Number(/** @type {HTMLElement | null} */ (document.querySelector("[data-refresh]"))?.dataset.refresh ?? 0);
  if (every > 0) {
    const again = setInterval(() => {
      if (!document.querySelector("[data-refresh]")) clearInterval(again);
      else if (!document.hidden) refresh();
    }, every);
  }
}
