// Scores per clip: a drill-down is data until it is opened, and then shows a page of its rows.
const PAGE = 50;
const minus = (text) => text === "" || text === undefined ? "–" : text.replace("-", "−");
function scoresOf(details) {
  const names = JSON.parse(details.closest(".drills").querySelector(".clip-names").textContent);
  return { names, data: JSON.parse(details.querySelector("script").textContent) };
}
function drill(details) {
  const { names, data } = scoresOf(details);
  const columns = [data.clips.map((clip) => names[clip]), ...data.values.map((values) => values.split(","))];
  const keys = columns.map((texts, k) => texts.map((text) => k === 0 ? text.toLowerCase() : text === "" ? null : Number(text)));
  let order = data.clips.map((_, row) => row), page = 0;
  const search = element("input", { type: "search", placeholder: "name" });
  const back = element("button", { type: "button", textContent: "‹ Previous" });
  const next = element("button", { type: "button", textContent: "Next ›" });
  const status = element("output");
  const body = element("tbody");
  const heads = ["Clip", ...data.methods].map((text, k) => {
    const button = element("button", { type: "button", textContent: text });
    return element("th", { scope: "col", className: k ? "num" : "name" }, button);
  });
  const cell = (text, k) => k
    ? element("td", { className: "num", textContent: minus(text) })
    : element("th", { scope: "row", className: "name", textContent: text });
  const show = () => {
    const name = search.value.trim().toLowerCase();
    const rows = order.filter((row) => keys[0][row].includes(name));
    const start = page * PAGE, end = Math.min(start + PAGE, rows.length);
    body.replaceChildren(...rows.slice(start, end).map((row) => element("tr", {}, ...columns.map((texts, k) => cell(texts[row], k)))));
    const count = rows.length.toLocaleString("en");
    status.textContent = rows.length ? `clips ${start + 1}–${end} of ${count}` : "no clip of this name";
    back.disabled = page === 0;
    next.disabled = end === rows.length;
    table.parentElement.scrollTop = 0;
  };
  const turn = (to) => { page = to; show(); };
  heads.forEach((head, k) => head.firstChild.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    order.sort((i, j) => compare(keys[k][i], keys[k][j], down));
    turn(0);
  }));
  search.addEventListener("input", () => turn(0));
  back.addEventListener("click", () => turn(page - 1));
  next.addEventListener("click", () => turn(page + 1));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body);
  const view = element("div", { className: "view" },
    element("div", { className: "controls" }, element("label", {}, "Filter clips ", search), back, status, next),
    strip(names, data),
    element("div", { className: "scroll tall", tabIndex: 0, role: "region", ariaLabel: `Clips by ${details.dataset.label}, ${details.closest(".board").querySelector("h3").textContent}` }, table));
  details.append(view);
  show();
}
for (const details of all("details.inner")) {
  details.addEventListener("toggle", () => {
    if (!details.open) details.querySelector(".view")?.remove();
    else if (!details.querySelector(".view")) drill(details);
  });
}


// What a pointed-at clip looks like: its name, its values, and the present frames of its videos where the gallery has them.
const card = element("div", { className: "tip", hidden: true });
document.body.append(card);
function tip(x, y, clip, words) {
  const article = all(".clip").find((other) => other.dataset.clip === clip);
  const pictures = article ? all("figure.player", article).filter((p) => p.querySelector("video")).slice(0, 4) : [];
  const frames = pictures.map((player) => {
    const video = player.querySelector("video"), picture = element("canvas", { width: 96, height: Math.round(96 * video.height / video.width) });
    if (video.readyState >= 2) picture.getContext("2d").drawImage(video, 0, 0, picture.width, picture.height);
    return element("figure", {}, picture, element("figcaption", { textContent: player.querySelector("figcaption label").textContent.trim() }));
  });
  card.replaceChildren(element("b", { textContent: clip }), ...words.map((text) => element("div", { textContent: text })), element("div", { className: "frames" }, ...frames));
  card.hidden = false;
  card.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - card.offsetWidth - 8))}px`;
  card.style.top = `${y + 16 + card.offsetHeight > innerHeight ? Math.max(4, y - card.offsetHeight - 12) : y + 16}px`;
}
const untip = () => { card.hidden = true; };
addEventListener("scroll", untip, { passive: true });
addEventListener("keydown", (event) => event.key === "Escape" && untip());

// All clips of a metric as dots, one line a method. The pointer, or the arrow keys, show the clip of a dot.
function strip(names, data) {
  const LINE = 18, ROOM = 8, LEFT = 150;
  const values = data.values.map((texts) => texts.split(",").map((text) => text === "" ? NaN : Number(text)));
  const every = values.flat().filter(Number.isFinite);
  const low = Math.min(...ends(every)), high = Math.max(...ends(every));
  const picture = element("canvas", { className: "strip", tabIndex: 0, role: "img", ariaLabel: `Clips of ${data.methods.length} methods as dots; arrow keys go through them` });
  const status = element("p", { className: "hint", role: "status", textContent: "Point at a dot, or use the arrow keys, to see the clip." });
  const order = values.map((own) => own.map((v, k) => k).filter((k) => Number.isFinite(own[k])).sort((i, j) => own[i] - own[j]));
  let at = [0, 0];
  const x = (value, wide) => LEFT + ROOM + (high > low ? (value - low) / (high - low) : 0.5) * (wide - LEFT - 2 * ROOM);
  const paint = () => {
    const wide = picture.clientWidth || 600, tall = LINE * values.length + 2 * ROOM, scale = devicePixelRatio || 1;
    picture.width = wide * scale;
    picture.height = tall * scale;
    picture.style.height = `${tall}px`;
    const pen = picture.getContext("2d"), style = getComputedStyle(document.documentElement);
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    values.forEach((own, m) => {
      const y = ROOM + LINE * (m + 0.5);
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillText(data.methods[m].length > 22 ? `${data.methods[m].slice(0, 21)}…` : data.methods[m], 0, y);
      pen.fillStyle = style.getPropertyValue("--s0");
      pen.globalAlpha = own.length > 100 ? 0.3 : 0.6;
      for (const value of own) if (Number.isFinite(value)) pen.fillRect(x(value, wide) - 1.5, y - 3, 3, 6);
      pen.globalAlpha = 1;
    });
    const [m, k] = at, value = values[m]?.[order[m]?.[k]];
    if (value === undefined) return;
    pen.strokeStyle = style.getPropertyValue("--s1");
    pen.lineWidth = 2;
    pen.strokeRect(x(value, wide) - 4, ROOM + LINE * (m + 0.5) - 6, 8, 12);
  };
  const show = (place) => {
    at = [Math.max(0, Math.min(place[0], values.length - 1)), 0];
    const own = order[at[0]];
    if (!own.length) return;
    at[1] = Math.max(0, Math.min(place[1], own.length - 1));
    paint();
    const k = own[at[1]], clip = names[data.clips[k]];
    const words = [at[0], ...values.keys()].filter((m, i, list) => list.indexOf(m) === i).slice(0, 4)
      .map((m) => `${data.methods[m]}: ${minus(data.values[m].split(",")[k])}`);
    status.textContent = `${clip}; ${words[0]}`;
    const box = picture.getBoundingClientRect();
    tip(box.left + x(values[at[0]][k], box.width), box.top + ROOM + LINE * (at[0] + 0.5), clip, words);
  };
  picture.addEventListener("pointermove", (event) => {
    const m = Math.max(0, Math.min(values.length - 1, Math.floor((event.offsetY - ROOM) / LINE)));
    const wide = picture.clientWidth, distance = (k) => Math.abs(x(values[m][k], wide) - event.offsetX);
    let near = 0;
    order[m].forEach((k, place) => { if (distance(k) < distance(order[m][near])) near = place; });
    if (order[m].length) show([m, near]);
  });
  picture.addEventListener("pointerleave", untip);
  picture.addEventListener("blur", untip);
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    show([at[0] + step[0], at[1] + step[1]]);
  });
  new ResizeObserver(paint).observe(picture);
  return element("div", {}, picture, status);
}
function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

// Plots of means: a line shows the weakest and the best clip of its method.
for (const figure of all("figure.score")) {
  const methods = JSON.parse(figure.dataset.methods);
  const details = all(".drills .inner", figure.closest(".board")).find((other) => other.dataset.label === figure.dataset.label);
  let at = -1;
  const rows = () => all("svg [id*=ytick] text", figure).map((text) => text.getBoundingClientRect()).sort((a, b) => a.top - b.top);
  const show = (place) => {
    if (!details || !methods.length) return;
    at = Math.max(0, Math.min(place, methods.length - 1));
    const { names, data } = scoresOf(details), m = data.methods.indexOf(methods[at]), box = rows()[at];
    if (m < 0 || !box) return untip();
    const texts = data.values[m].split(","), known = texts.map((_, k) => k).filter((k) => texts[k] !== "");
    if (!known.length) return untip();
    const sorted = known.sort((i, j) => texts[i] - texts[j]), places = [sorted[0], sorted[sorted.length - 1]];
    if (figure.dataset.lowest === "best") places.reverse();
    const clip = (k) => names[data.clips[k]];
    tip(box.right, box.bottom, clip(places[0]), [`weakest of ${methods[at]}: ${minus(texts[places[0]])}`, `best: ${clip(places[1])}, ${minus(texts[places[1]])}`]);
  };
  figure.addEventListener("pointermove", (event) => {
    const distance = (box) => Math.abs((box.top + box.bottom) / 2 - event.clientY), boxes = rows();
    if (boxes.length) show(boxes.reduce((near, box, k) => (distance(box) < distance(boxes[near]) ? k : near), 0));
  });
  figure.addEventListener("pointerleave", untip);
  figure.addEventListener("blur", untip);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at + step);
  });
}
