/* One table for all published numbers: choose, sort, search, save. What is chosen stands in the page's address. */
document.addEventListener("DOMContentLoaded", () => {
  const place = document.getElementById("explorer");
  const { columns, tables, looks } = globalThis.ARDM_TABLES;
  const START = { table: "arena", task: "agreement grammar", calls: "16", group: "", find: "", sort: "loss", down: "", all: "" };
  const MARKS = { o: "●", s: "■", "^": "▲", v: "▼", D: "◆", P: "✚", X: "✖", x: "×", "*": "★", ".": "•" };
  const at = Object.fromEntries(columns.map((column, i) => [column.key, i]));
  const element = (tag, given = {}, ...inside) => {
    const made = Object.assign(document.createElement(tag), given);
    made.append(...inside);
    return made;
  };

  // ------------------------------------------------------------------------------------------- what is chosen
  const read = () => ({ ...START, ...Object.fromEntries(new URLSearchParams(location.hash.slice(1))) });
  let state = read();
  const write = () => {
    const given = Object.entries(state).filter(([name, value]) => value !== START[name]);
    const hash = given.length ? `#${new URLSearchParams(given)}` : location.pathname + location.search;
    history.replaceState(null, "", hash);
  };

  // ------------------------------------------------------------------------------------------------- the page
  const chooser = (name, label) => {
    const select = element("select", { id: `explorer-${name}`, name });
    select.addEventListener("change", () => show({ [name]: select.value }));
    return [element("label", { htmlFor: select.id }, label, select), select];
  };
  const labels = {}, selects = {};
  for (const [name, label] of [["table", "Table"], ["task", "Task"], ["calls", "Calls"], ["group", "Kind of rule"]])
    [labels[name], selects[name]] = chooser(name, label);
  const find = element("input", { id: "explorer-find", type: "search", placeholder: "any rule" });
  find.addEventListener("input", () => show({ find: find.value }));
  const all = element("input", { id: "explorer-all", type: "checkbox" });
  all.addEventListener("change", () => show({ all: all.checked ? "1" : "" }));
  const csv = element("button", { type: "button" }, "CSV");
  csv.addEventListener("click", save);
  const head = element("thead", {}, element("tr"), element("tr"));
  for (const column of columns) {
    const cell = element("th", { title: column.means, scope: "col", textContent: column.head });
    const above = head.rows[0].lastElementChild;
    if (!column.above) { cell.rowSpan = 2; head.rows[0].append(cell); continue; }
    if (above?.textContent === column.above) above.colSpan += 1;
    else {
      const group = element("th", { scope: "colgroup", textContent: column.above });
      group.dataset.dtOrder = "disable";
      head.rows[0].append(group);
    }
    head.rows[1].append(cell);
  }
  const sheet = element("table", { className: "table" }, element("caption", { className: "visually-hidden" }, "The chosen rows"), head);
  place.replaceChildren(
    element("div", { className: "explorer-choices", role: "search" }, ...Object.values(labels),
      element("label", { htmlFor: find.id }, "Rule", find),
      element("label", { htmlFor: all.id, className: "explorer-all" }, all, "all columns"), csv),
    sheet,
  );

  const named = (column) => `${column.above} ${column.head}`.trim();
  const means = columns.filter((column) => column.means).flatMap((column) =>
    [element("dt", { textContent: named(column) }), element("dd", { textContent: column.means })]);
  place.append(element("details", { className: "explorer-means" }, element("summary", {}, "What the columns mean"), element("dl", {}, ...means)));

  // ------------------------------------------------------------------------------------------------ the table
  const shownRule = (name) => {
    const link = element("a", { href: `glossary.html#term-${name.replace(/[^A-Za-z0-9]+/g, "-").replace(/-$/, "")}`, textContent: name });
    if (!looks[name]) return element("span", { textContent: name }).outerHTML;
    const mark = element("span", { className: "rule-mark", textContent: MARKS[looks[name][1]] });
    mark.setAttribute("aria-hidden", "true");
    if (looks[name][0] !== "#000000") mark.style.color = looks[name][0];
    return mark.outerHTML + link.outerHTML;
  };
  const shown = (column) => (value, kind) => {
    if (kind !== "display") return value ?? (kind === "sort" || kind === "type" ? Infinity : "");
    if (column.key === "rule") return shownRule(value);
    if (column.decimals === null) return element("span", { textContent: value ?? "" }).innerHTML; // text, not HTML
    return value === null ? "" : value.toFixed(column.decimals);
  };
  const grid = new globalThis.DataTable(sheet, {
    columns: columns.map((column) => ({
      name: column.key, ariaTitle: named(column), render: shown(column), type: column.decimals === null ? "string" : "num",
      className: column.decimals === null ? "text-start" : "text-end", orderSequence: ["asc", "desc"],
    })),
    autoWidth: false, deferRender: true, pageLength: 25,
    layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
    language: { info: "_START_ to _END_ of _TOTAL_ rows", infoEmpty: "no row", infoFiltered: "", zeroRecords: "No rule fits." },
  });
  sheet.parentElement.classList.add("explorer-sheet");

  // DataTables says of an event to whom it was delegated, which the listener of the copy buttons takes for its own
  place.addEventListener("click", (event) => event.target.closest("a") || event.stopPropagation());

  let held = null;
  function show(change = {}) {
    state = { ...state, ...change };
    if (!tables[state.table]) state.table = START.table;
    const rows = tables[state.table].rows;
    if (!rows.some((row) => row[at.task] === state.task)) state.task = change.table ? rows[0][at.task] : "";
    const ofTask = rows.filter((row) => !state.task || row[at.task] === state.task);
    const calls = [...new Set(ofTask.map((row) => row[at.calls]))].sort((a, b) => a - b).map(String);
    if (!calls.includes(state.calls)) state.calls = "";
    const options = {
      table: Object.entries(tables).map(([name, table]) => [name, table.title]),
      task: [["", "all"], ...[...new Set(rows.map((row) => row[at.task]))].map((task) => [task, task])],
      calls: [["", "all"], ...calls.map((n) => [n, n === "0" ? "none: real texts" : n])],
      group: [["", "all"], ...[...new Set(rows.map((row) => row[at.group]))].filter(Boolean).map((name) => [name, name])],
    };
    for (const [name, given] of Object.entries(options)) {
      selects[name].replaceChildren(...given.map(([value, text]) => element("option", { value, textContent: text })));
      selects[name].value = state[name];
      if (selects[name].selectedIndex < 0) selects[name].value = state[name] = "";
    }
    if (find.value !== state.find) find.value = state.find;
    all.checked = Boolean(state.all);
    if (held !== state.table) grid.clear().rows.add(rows);
    held = state.table;
    const only = (name, value) => grid.column(at[name]).search.fixed("chosen", value === "" ? null : (_, data) => String(data[at[name]]) === value);
    for (const name of ["task", "calls", "group"]) only(name, state[name]);
    grid.column(at.rule).search(state.find);
    // what is chosen above needs no column
    columns.forEach((column, i) => grid.column(i).visible(Boolean(state.all) || !(column.more || (column.key !== "group" && state[column.key])), false));
    grid.order([at[state.sort] ?? at.loss, state.down ? "desc" : "asc"]).draw();
    write();
  }
  grid.on("order", () => {
    const [[column, way]] = grid.order();
    Object.assign(state, { sort: columns[column].key, down: way === "desc" ? "1" : "" });
    write();
  });
  addEventListener("hashchange", () => { state = read(); show(); });

  function save() {
    const safe = (value) => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "")); // no formula
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = [columns.map((column) => column.key), ...grid.rows({ search: "applied", order: "applied" }).data().toArray()];
    const text = lines.map((line) => line.map((value) => quoted(safe(value))).join(",")).join("\n");
    const link = element("a", { href: URL.createObjectURL(new Blob([`${text}\n`], { type: "text/csv" })), download: `${state.table}.csv` });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  show();
});
