// What screen readers are told: names of fields and downloads, and which tabs are at work.

// Gradio makes a field's help a part of its name: it becomes its description.
function nameFields() {
  for (const info of document.querySelectorAll(".block label [data-testid=block-info]")) {
    const label = info.closest("label"), box = label.querySelector(":is(input, textarea):not([aria-label])");
    if (!box || label.querySelectorAll("input, textarea").length > 1) continue;
    box.setAttribute("aria-label", info.textContent.trim());
    const help = label.textContent.replace(info.textContent, "").trim();
    if (help) box.setAttribute("aria-description", help);
  }
}

// Gradio puts a button into the link that downloads: the link alone is there for keys and readers.
function nameDownloads() {
  for (const button of document.querySelectorAll("a[download] > button:not([aria-hidden])")) {
    button.parentElement.setAttribute("aria-label", button.getAttribute("aria-label") || button.title || "Download");
    button.setAttribute("aria-hidden", "true");
    button.tabIndex = -1;
  }
}

// Gradio's buttons have no tooltip.
function nameKeys() {
  for (const button of document.querySelectorAll("button.lc-go:not([title])")) button.title = "Ctrl+Enter";
}

// A sign of each tab stands outside it: a tab that is not open, or was never opened, has no strip.
function markBusyTabs() {
  for (const sign of document.querySelectorAll(".lc-sign")) {
    const tab = document.getElementById(`tab-${sign.id.slice(0, -"-sign".length)}-button`);
    const isBusy = Boolean(sign.querySelector("[data-busy]"));
    if (!tab || isBusy === tab.hasAttribute("data-busy")) continue;
    tab.toggleAttribute("data-busy", isBusy);
    if (isBusy) tab.setAttribute("aria-label", `${tab.textContent.trim()}, a picture is being made`);
    else tab.removeAttribute("aria-label");
  }
}

// Gradio's folds do not say whether they are open, and of a star only the sign says it.
function nameStates() {
  for (const fold of document.querySelectorAll(".label-wrap")) fold.setAttribute("aria-expanded", fold.classList.contains("open"));
  for (const icon of document.querySelectorAll(".label-wrap .icon:not([aria-hidden])")) icon.setAttribute("aria-hidden", "true");
  for (const star of document.querySelectorAll("button.lc-star")) star.setAttribute("aria-pressed", star.textContent.includes("\u2605"));
}
document.addEventListener("click", ({ target }) => { if (target.closest?.(".label-wrap")) setTimeout(nameStates); });

let naming = 0; // once for all that changes until the page is drawn
new MutationObserver(() => {
  naming ||= requestAnimationFrame(() => {
    naming = 0;
    for (const name of [nameFields, nameDownloads, nameKeys, nameStates, markBusyTabs, markTold]) name();
  });
}).observe(document, { childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ["data-told"] });
