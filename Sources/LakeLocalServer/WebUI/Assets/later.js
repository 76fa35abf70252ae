// @ts-check
/** What costs more than the page itself is asked for when the page is there: cells of tables, sizes of folders. */

/**
 * @param {string} address
 * @returns {Promise<string | undefined>}
 */
async function part(address) {
  try {
    const response = await fetch(address);
    return response.ok && !response.redirected ? await response.text() : undefined;
  } catch {
    return undefined; // The page does without.
  }
}

/** @param {ParentNode} root */
export function fillLater(root) {
  for (const table of root.querySelectorAll("[data-later]")) {
    if (table instanceof HTMLElement) fill(table);
  }
  for (const link of root.querySelectorAll("a[data-replace]")) {
    if (!(link instanceof HTMLAnchorElement)) continue;
    link.onclick = async (event) => {
      event.preventDefault();
      const html = await part(link.href);
      if (html === undefined) return;
      const page = new DOMParser().parseFromString(html, "text/html");
      link.replaceWith(...page.body.childNodes);
    };
  }
}

/** @param {HTMLElement} table */
async function fill(table) {
  const html = await part(table.dataset.later ?? "");
  if (html === undefined) return;
  const page = new DOMParser().parseFromString(html, "text/html");
  for (const template of page.querySelectorAll("template[data-for]")) {
    if (!(template instanceof HTMLTemplateElement)) continue;
    const cell = table.querySelector(`#${CSS.escape(template.dataset.for ?? "")} [data-cell]`);
    cell?.replaceChildren(template.content.cloneNode(true));
  }
}
