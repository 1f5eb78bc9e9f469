/* A citation names the address of its figure. Where the build does not know it, it is the one the page is read at. */
document.addEventListener("DOMContentLoaded", () => {
  if (!location.protocol.startsWith("http")) return;
  for (const part of document.querySelectorAll("[data-below-site]")) {
    const top = new URL(part.dataset.belowSite, location.href);
    part.textContent = new URL(part.textContent, top).href;
  }
});

/* The card of a word: its entry in the glossary, shown where a link to it is pointed at, focused or tapped. Escape closes it. */
document.addEventListener("DOMContentLoaded", () => {
  const card = Object.assign(document.createElement("div"), { id: "word-card", hidden: true });
  card.setAttribute("role", "tooltip");
  document.body.append(card);
  let shown = null, leaving;
  const wordOf = (node) => {
    const link = node.closest?.("a[href*='glossary.html#term-']");
    return link && globalThis.ARDM_CARDS?.[link.hash.slice(1)] ? link : null;
  };
  const close = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    card.hidden = true;
  };
  const open = (link) => {
    clearTimeout(leaving);
    if (shown === link) return;
    close();
    card.innerHTML = globalThis.ARDM_CARDS[link.hash.slice(1)];
    for (const inside of card.querySelectorAll("a")) inside.replaceWith(...inside.childNodes); // a card is read, not used
    card.hidden = false;
    const [place, view] = [link.getBoundingClientRect(), document.documentElement];
    const below = place.bottom + card.offsetHeight + 12 < view.clientHeight;
    card.style.left = `${scrollX + Math.max(8, Math.min(place.left, view.clientWidth - card.offsetWidth - 8))}px`;
    card.style.top = `${scrollY + (below ? place.bottom + 6 : Math.max(8, place.top - card.offsetHeight - 6))}px`;
    link.setAttribute("aria-describedby", card.id);
    shown = link;
  };
  document.addEventListener("pointerover", ({ target, pointerType }) => {
    if (pointerType === "touch") return;
    if (card.contains(target)) clearTimeout(leaving);
    else if (wordOf(target)) open(wordOf(target));
    else if (shown && shown !== document.activeElement) leaving = setTimeout(close, 200);
  });
  document.addEventListener("focusin", ({ target }) => (wordOf(target) ? open(wordOf(target)) : close()));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && close());
  let tapped = false; // the first tap opens the card, the second follows the link
  document.addEventListener("pointerdown", ({ target, pointerType }) => {
    tapped = pointerType === "touch" && wordOf(target) !== null && wordOf(target) !== shown;
    if (!wordOf(target) && !card.contains(target)) close();
  });
  document.addEventListener("click", (event) => {
    if (tapped && wordOf(event.target)) {
      event.preventDefault();
      open(wordOf(event.target));
    }
    tapped = false;
  });
});

/* What is wider than its place scrolls there; a side on which there is more fades out, and the arrow keys reach it. */
document.addEventListener("DOMContentLoaded", () => {
  const article = document.querySelector(".bd-article");
  if (!article) return;
  const measured = (box) => {
    const more = box.scrollWidth - box.clientWidth;
    const wide = more > 1 && ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
    return [box, wide && [box.scrollLeft > 2 && "left", box.scrollLeft < more - 2 && "right"].filter(Boolean).join(" ")];
  };
  const say = ([box, more]) => {
    if (more === false) return box.removeAttribute("data-more");
    box.dataset.more = more;
    if (!box.querySelector("a, button, input, select")) box.tabIndex = 0;
  };
  const boxes = () => [...article.querySelectorAll("div, pre, table, mjx-container")];
  new ResizeObserver(() => boxes().map(measured).forEach(say)).observe(article); // all is read before anything is written
  article.addEventListener("scroll", ({ target }) => say(measured(target)), { capture: true, passive: true });
});
