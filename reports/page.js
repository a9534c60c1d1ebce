"use strict";
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// The order of two values: a value before none in both directions.
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
}

// Tables: a click on a column head sorts each group of rows separately; rows without a value stay last.
function sort(table, head) {
  const column = [...head.parentElement.children].indexOf(head);
  const down = head.getAttribute("aria-sort") === "ascending";
  all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const value = (row) => {
    const cell = row.children[column];
    if (cell.dataset.value === undefined) return cell.classList.contains("num") ? null : cell.textContent.trim().toLowerCase();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  for (const body of table.tBodies) {
    const rows = all("tr:not(.grouphead)", body).map((row) => [value(row), row]);
    rows.sort(([a], [b]) => compare(a, b, down));
    body.append(...rows.map(([, row]) => row));
  }
}
for (const table of all("table.sortable")) {
  for (const button of all("thead th button", table)) {
    button.addEventListener("click", () => sort(table, button.closest("th")));
  }
}

// Filters: method name, dataset, groups of rows, metrics.
const filter = document.getElementById("filter");
const dataset = document.getElementById("dataset");
function apply() {
  const name = filter.value.trim().toLowerCase();
  const groups = new Set(all("input.group:checked").map((box) => box.value)).add("ranked");
  const metrics = new Set(all("input.metric:checked").map((box) => box.value));
  for (const board of all(".board")) {
    board.hidden = Boolean(dataset && dataset.value && board.dataset.dataset !== dataset.value);
    for (const body of all("table.scores tbody", board)) {
      const rows = all("tr[data-method]", body);
      for (const row of rows) row.hidden = !row.dataset.method.toLowerCase().includes(name);
      body.hidden = !groups.has(body.dataset.group) || rows.every((row) => row.hidden);
    }
    for (const cell of all("table.scores [data-label]", board)) cell.hidden = !metrics.has(cell.dataset.label);
  }
}
if (filter) {
  for (const control of [filter, dataset, ...all("input.group, input.metric")]) control?.addEventListener("input", apply);
  apply();
}

// Scores per clip: a drill-down is data until it is opened, and then shows a page of its rows.
const PAGE = 50;
function element(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}
function drill(details) {
  const names = JSON.parse(details.closest(".drills").querySelector(".clip-names").textContent);
  const data = JSON.parse(details.querySelector("script").textContent);
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
    ? element("td", { className: "num", textContent: text === "" ? "–" : text.replace("-", "−") })
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
    element("div", { className: "scroll tall", tabIndex: 0 }, table));
  details.append(view);
  show();
}
for (const details of all("details.inner")) {
  details.addEventListener("toggle", () => {
    if (!details.open) details.querySelector(".view")?.remove();
    else if (!details.querySelector(".view")) drill(details);
  });
}

// Gallery: one button and one slider control all videos of a clip; the others follow the longest one.
for (const clip of all(".clip")) {
  const videos = all("video", clip);
  const button = clip.querySelector(".play");
  const slider = clip.querySelector(".seek");
  if (!videos.length) {
    clip.querySelector(".bar").hidden = true;
    continue;
  }
  let playing = false;
  if (!clip.querySelector("input[type=radio]:checked")) clip.querySelector("input[type=radio]").checked = true;
  const leader = () => videos.reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a));
  const seek = (time) => videos.forEach((video) => { video.currentTime = Math.min(time, video.duration || time); });
  const sound = () => all(".player", clip).forEach((player) => {
    const video = player.querySelector("video");
    if (video) video.muted = !player.querySelector("input[type=radio]").checked;
  });
  const show = () => {
    button.textContent = playing ? "❚❚ Pause" : "▶ Play";
    button.setAttribute("aria-pressed", String(playing));
  };
  const step = () => {
    if (!playing) return;
    const first = leader();
    slider.value = first.currentTime / (first.duration || 1);
    for (const video of videos) {
      if (video !== first && !video.ended && Math.abs(video.currentTime - first.currentTime) > 0.06) {
        video.currentTime = Math.min(first.currentTime, video.duration);
      }
    }
    if (first.ended) {
      playing = false;
      show();
    } else requestAnimationFrame(step);
  };
  button.addEventListener("click", () => {
    playing = !playing;
    if (playing) {
      all(".clip").forEach((other) => other !== clip && other.dispatchEvent(new Event("stop")));
      seek(leader().ended ? 0 : leader().currentTime);
      sound();
      videos.forEach((video) => video.play().catch(() => {}));
      requestAnimationFrame(step);
    } else videos.forEach((video) => video.pause());
    show();
  });
  clip.addEventListener("stop", () => playing && button.click());
  slider.addEventListener("input", () => seek(Number(slider.value) * (leader().duration || 0)));
  clip.addEventListener("change", (event) => event.target.type === "radio" && sound());
}
