// @ts-check
/** Moves through lists by keys: / searches, j and k go down and up, Enter opens, u goes to the folder above. */

/** Links that rows are opened by. */
function links() {
  return [...document.querySelectorAll("[data-rows] tbody [data-open]")].filter((link) => link instanceof HTMLElement);
}

/** @param {number} by */
function move(by) {
  const all = links();
  if (all.length === 0) return;
  const at = all.findIndex((link) => link === document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by));
  /** @type {HTMLElement} */ (all[next]).focus();
}

export function startKeyboard() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target instanceof HTMLElement && target.matches("input, textarea, select")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    switch (event.key) {
      case "j": move(1); break;
      case "k": move(-1); break;
      case "/": {
        const field = document.querySelector("input[type=search], .picker input");
        if (!(field instanceof HTMLInputElement)) return;
        field.focus();
        field.select();
        break;
      }
      case "u": {
        const crumbs = document.querySelectorAll("nav[data-up] a");
        const isObject = document.querySelector("nav[data-up] [aria-current=page]") !== null;
        const up = crumbs.length > 0 ? crumbs[Math.max(0, crumbs.length - (isObject ? 1 : 2))] : document.querySelector("a[data-up]");
        if (up instanceof HTMLAnchorElement) up.click();
        break;
      }
      default: return;
    }
    event.preventDefault();
  });
  // Menus close when one goes elsewhere.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (event.target instanceof Node && !menu.contains(event.target)) menu.removeAttribute("open");
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.removeAttribute("open");
      menu.querySelector("summary")?.focus();
    }
  });
}
