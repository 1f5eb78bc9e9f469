/* A citation names the address of its figure. Where the build does not know it, it is the one the page is read at. */
document.addEventListener("DOMContentLoaded", () => {
  if (!location.protocol.startsWith("http")) return;
  for (const part of document.querySelectorAll("[data-below-site]")) {
    const top = new URL(part.dataset.belowSite, location.href);
    part.textContent = new URL(part.textContent, top).href;
  }
});
