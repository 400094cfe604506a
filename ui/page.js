// Ctrl+Enter (or Cmd+Enter) presses the visible Generate button.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const button = [...document.querySelectorAll("button.generate")].find((b) => b.offsetParent);
  if (button && !button.disabled) { event.preventDefault(); button.click(); }
});
