// @ts-check
/** What every page does once it is there; the rest is in the modules. */
import { startLive } from "./live.js";
import { startKeyboard } from "./keyboard.js";
import { startForms } from "./forms.js";
import { startUpload } from "./upload.js";
import { fillLater } from "./later.js";

/**
 * Makes a part of the page work, at first and whenever it was replaced.
 * @param {ParentNode} root
 */
export function prepare(root) {
  for (const button of root.querySelectorAll("button.copy")) {
    if (!(button instanceof HTMLButtonElement)) continue;
    button.hidden = false;
    button.onclick = async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy ?? "");
        button.textContent = "copied";
      } catch {
        // Without a secure context there is no clipboard: the text is marked instead, for the keyboard.
        const code = button.previousElementSibling;
        if (code) getSelection()?.selectAllChildren(code);
        button.textContent = "press Ctrl-C";
      }
      setTimeout(() => (button.textContent = "copy"), 1500);
    };
  }
  for (const part of root.querySelectorAll(".needs-script")) {
    if (part instanceof HTMLElement) part.hidden = false;
  }
  fillLater(root);
}

startForms(prepare);
startUpload();
startKeyboard();
prepare(document);
startLive(prepare);
