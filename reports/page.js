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
    if (cell.classList.contains("name") && row.dataset.method !== undefined) return row.dataset.method.toLowerCase();
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
    all("table.scores", board).forEach(fit);
  }
}

// No column is cut off: those that do not fit are folded away, and a line above the table brings back their group.
// On a narrow screen, where hardly a column would be left, the table scrolls instead.
const NARROW = 640;
let printing = false;  // on paper all columns are shown, smaller
const folding = new Map();  // by table: "" for all columns, or the group that comes first
function fit(table) {
  const scroll = table.closest(".scroll"), line = scroll.previousElementSibling;
  const heads = all("thead th[data-label]", table).filter((head) => !head.hidden);
  all("[data-fold]", table).forEach((cell) => delete cell.dataset.fold);
  const asked = printing ? "" : folding.get(table), groups = [...new Set(heads.map((head) => head.dataset.of))];
  const folded = new Set();
  if (asked !== "" && heads.length) {
    table.classList.add("natural");
    const widths = new Map(heads.map((head) => [head, head.offsetWidth]));
    let room = scroll.clientWidth - table.offsetWidth + [...widths.values()].reduce((a, b) => a + b, 0);
    table.classList.remove("natural");
    // The first column of every group, then the second ones; those that nobody could compute last.
    const turn = (head) => groups.includes(asked) && head.dataset.of === asked ? -1
      : (head.dataset.lacking === undefined ? 0 : 100) + heads.filter((other) => other.dataset.of === head.dataset.of).indexOf(head);
    const narrow = document.documentElement.clientWidth <= NARROW;
    for (const head of [...heads].sort((a, b) => turn(a) - turn(b))) {
      const unasked = head.dataset.lacking !== undefined && head.dataset.of !== asked;
      if (!unasked && (narrow || widths.get(head) <= room)) room -= widths.get(head);
      else folded.add(head);
    }
  }
  // On paper a column that nobody could compute is only named, in the sentence on what is missing.
  if (printing) heads.filter((head) => head.dataset.lacking !== undefined).forEach((head) => folded.add(head));
  if (folded.size === heads.length) folded.delete(heads[0]);
  const places = new Set([...folded].map((head) => [...head.parentElement.children].indexOf(head)));
  for (const row of all("thead tr:last-child, tr[data-method]", table)) {
    places.forEach((place) => { row.children[place].dataset.fold = ""; });
  }
  for (const head of all(".heads [data-group]", table)) {
    const shown = heads.filter((other) => other.dataset.of === head.dataset.group && !folded.has(other));
    head.hidden = !shown.length;
    head.colSpan = shown.length || 1;
  }
  for (const cell of all(".grouphead th", table)) cell.colSpan = 1 + all("thead tr:last-child > :not([hidden], [data-fold], .name)", table).length;
  if (!line?.classList.contains("folded")) return;
  const button = (text, group) => {
    const control = element("button", { type: "button", textContent: text });
    control.addEventListener("click", () => { folding.set(table, group); fit(table); scroll.focus(); });
    return control;
  };
  const offers = groups.map((group) => [group, [...folded].filter((head) => head.dataset.of === group)]).filter(([, own]) => own.length)
    .map(([group, own]) => button(own.map((head) => head.dataset.label).join(", "), group));
  line.hidden = !offers.length && asked !== "";
  line.firstChild.textContent = offers.length ? "Not shown for want of width: " : "All columns are shown: ";
  line.querySelector("span").replaceChildren(...offers, offers.length ? button("all columns", "") : button("as many as fit", undefined));
}
function element(tag, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}
addEventListener("beforeprint", () => { printing = true; all("table.scores").forEach(fit); });
addEventListener("afterprint", () => { printing = false; all("table.scores").forEach(fit); });
// A narrow screen shows the table sooner: sentences on single methods fold away.
if (document.documentElement.clientWidth <= NARROW) all(".short details").forEach((part) => { part.open = false; });
let width = 0;
function refit() {
  if (width === document.documentElement.clientWidth) return;
  width = document.documentElement.clientWidth;
  all("table.scores").forEach(fit);
}
addEventListener("resize", refit);
all("details.plumbing").forEach((part) => part.addEventListener("toggle", () => all("table.scores", part).forEach(fit)));
if (filter) {
  for (const control of [filter, dataset, ...all("input.group, input.metric")]) control?.addEventListener("input", apply);
  apply();
  width = document.documentElement.clientWidth;
}

