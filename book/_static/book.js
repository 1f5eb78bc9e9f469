/* A citation names the address of its figure. Where the build does not know it, it is the one the page is read at. */
document.addEventListener("DOMContentLoaded", () => {
  if (!location.protocol.startsWith("http")) return;
  for (const part of document.querySelectorAll("[data-below-site]")) {
    const top = new URL(part.dataset.belowSite, location.href);
    part.textContent = new URL(part.textContent, top).href;
  }
});

/* A mark of a figure that is pointed at, touched, or reached by the arrow keys says what it is. */
document.addEventListener("DOMContentLoaded", () => {
  const make = (kind, name) => Object.assign(document.createElement(kind), { className: name });
  const tip = document.body.appendChild(make("div", "figure-tip"));
  tip.setAttribute("role", "status");
  const ring = make("div", "figure-ring");
  ring.setAttribute("aria-hidden", "true");

  const hide = () => {
    tip.hidden = true;
    ring.remove();
  };
  hide();

  const line = (words, value, between) => {
    if (!value) return;
    const part = tip.appendChild(make("div", ""));
    part.textContent = (words ? `${words}: ` : "") + value + (between ? ` (${between})` : "");
  };

  const show = (sheet, told, mark) => {
    const [axes, series, left, top, x, y, across, up, width, height] = mark;
    const [acrossWords, upWords, title] = told.axes[axes];
    tip.replaceChildren();
    for (const words of [told.series[series], title].filter(Boolean)) tip.appendChild(make("strong", "")).textContent = words;
    line(upWords, y, up);
    line(acrossWords, x, across);
    ring.style.cssText = `left: ${left / 10}%; top: ${top / 10}%;`;
    ring.classList.toggle("area", width !== undefined);
    if (width !== undefined) ring.style.cssText += `width: ${width / 10}%; height: ${height / 10}%;`;
    sheet.append(ring);
    tip.hidden = false;
    const at = ring.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, room))}px`;
    tip.style.top = `${at.top - tip.offsetHeight - 8 > 0 ? at.top - tip.offsetHeight - 8 : at.bottom + 8}px`;
  };

  /* The mark nearest to a point of the sheet, in pixels: within reach, or the smallest bar or cell that holds the point. */
  const nearest = (marks, frame, px, py, reach) => {
    let best = null;
    let least = reach;
    for (const mark of marks) {
      const x = Math.abs(px - (mark[2] / 1000) * frame.width);
      const y = Math.abs(py - (mark[3] / 1000) * frame.height);
      const width = ((mark[8] ?? 0) / 2000) * frame.width;
      const height = ((mark[9] ?? 0) / 2000) * frame.height;
      const area = mark[8] !== undefined;
      const away = !area ? Math.hypot(x, y) : x <= width && y <= height ? 0.4 * reach : Infinity;
      if (away < least) [best, least] = [mark, away];
    }
    return best;
  };

  const answer = (box, told) => {
    const sheet = box.querySelector(".figure-sheet");
    const scroll = box.querySelector(".figure-scroll");
    let current = -1;
    const point = (event) => {
      const frame = sheet.getBoundingClientRect();
      const reach = event.pointerType === "touch" ? 32 : 20;
      const mark = nearest(told.marks, frame, event.clientX - frame.left, event.clientY - frame.top, reach);
      current = mark ? told.marks.indexOf(mark) : current;
      if (mark) show(sheet, told, mark);
      else hide();
    };
    const go = (to) => {
      current = Math.max(0, Math.min(to, told.marks.length - 1));
      const middle = (told.marks[current][2] / 1000) * sheet.offsetWidth;
      scroll.scrollLeft = middle - scroll.clientWidth / 2;
      show(sheet, told, told.marks[current]);
    };
    sheet.addEventListener("pointermove", point);
    sheet.addEventListener("click", point);
    sheet.addEventListener("pointerleave", (event) => event.pointerType === "touch" || hide());
    scroll.setAttribute("role", "group");
    scroll.setAttribute("aria-label", `${told.marks.length} marks of the figure, read by the arrow keys`);
    scroll.tabIndex = 0;
    scroll.addEventListener("focus", () => scroll.matches(":focus-visible") && go(current));
    scroll.addEventListener("blur", hide);
    scroll.addEventListener("keydown", (event) => {
      const to = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: told.marks.length - 1 }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      go(to);
    });
  };

  for (const box of document.querySelectorAll(".figure-box")) {
    const told = box.querySelector("script");
    if (told) answer(box, JSON.parse(told.textContent));
    const scroll = box.querySelector(".figure-scroll");
    const hint = () => box.toggleAttribute("data-scrolls", scroll.scrollWidth > scroll.clientWidth + 1);
    new ResizeObserver(hint).observe(scroll);
  }
  addEventListener("keydown", (event) => event.key === "Escape" && hide());
  addEventListener("scroll", (event) => event.target === document && hide(), true);
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
