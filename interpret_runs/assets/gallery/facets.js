"use strict";

/** The filters beside the runs: values to tick where there are few, and a range of numbers where there are many. */
const facets = (() => {
  const OPEN = 5; // facets of choices that are open from the start
  const made = [];
  let change = () => {};
  let passed = null;
  let filters = new Map();

  function start(changed) {
    change = changed;
    const host = byId("facets");
    const offered = table.columns.filter((column) => column.form !== "none");
    const settings = offered.filter((column) => column.kind !== "metric");
    const metrics = offered.filter((column) => column.kind === "metric");
    for (const [heading, group, open] of [["Settings", settings, OPEN], ["Metrics", metrics, 0]]) {
      if (!group.length) continue;
      host.append(make("h2", {}, heading));
      group.forEach((column, place) => host.append(facet(column, place < open && (column.kind === "choice" || column.name === "picture"))));
    }
    if (!offered.length) host.append(make("p", { class: "quiet" }, "All runs are alike: there is nothing to filter by."));
  }

  function facet(column, open) {
    const mark = make("span", { class: "set" });
    const body = make("div", { class: "body" });
    const box = make("details", { class: "facet", open, ontoggle: () => fill(entry) },
      make("summary", {}, make("span", {}, ...broken(column.name)), mark), body);
    const entry = { column, box, body, mark, counts: null, inputs: null };
    made.push(entry);
    return box;
  }

  /** A facet gets its inputs when it is first opened. */
  function fill(entry) {
    if (!entry.box.open) return;
    if (!entry.inputs) (entry.column.form === "list" ? addList : addRange)(entry);
    refresh(entry);
  }

  function addList(entry) {
    const { column, body } = entry;
    const codes = column.texts.map((_, code) => code);
    if (column.codes.includes(-1)) codes.push(-1);
    const group = make("div", { role: "group", "aria-label": column.name, class: "values" });
    entry.inputs = new Map();
    for (const code of codes) {
      const input = make("input", { type: "checkbox", onchange: () => tick(column, code, input.checked) });
      const count = make("span", { class: "count" });
      const words = code < 0 ? make("i", {}, "none") : make("span", { title: column.texts[code] }, column.texts[code]);
      const label = make("label", {}, input, words, count);
      entry.inputs.set(code, { input, count, label });
      group.append(label);
    }
    body.append(group);
  }

  function addRange(entry) {
    const { column, body } = entry;
    let low = Infinity;
    let high = -Infinity;
    for (let row = 0; row < table.size; row += 1) {
      const value = column.number(row);
      if (value < low) low = value;
      if (value > high) high = value;
    }
    const end = (name, hint) => make("input", { type: "number", step: "any", "aria-label": `${column.name} ${name}`,
      placeholder: inShort(hint), onchange: () => limit(entry) });
    entry.inputs = { from: end("from", low), to: end("to", high) };
    body.append(make("div", { class: "range" }, entry.inputs.from, make("span", { "aria-hidden": "true" }, "to"), entry.inputs.to));
  }

  function tick(column, code, on) {
    const codes = new Set(filters.get(column.name)?.codes);
    if (on) codes.add(code);
    else codes.delete(code);
    change(column.name, codes.size ? { codes } : null);
  }

  function limit({ column, inputs }) {
    const [from, to] = [inputs.from, inputs.to].map((input) => (input.value === "" ? null : Number(input.value)));
    const filter = { from: from ?? -Infinity, to: to ?? Infinity };
    change(column.name, from === null && to === null ? null : filter);
  }

  function refresh({ column, box, mark, inputs }) {
    const filter = filters.get(column.name);
    mark.textContent = filter ? (filter.codes ? `${filter.codes.size} chosen` : "set") : "";
    box.classList.toggle("active", Boolean(filter));
    if (!inputs || !box.open || !passed) return;
    if (column.form === "range") {
      for (const [end, input] of Object.entries(inputs)) {
        if (document.activeElement !== input) input.value = filter && Number.isFinite(filter[end]) ? filter[end] : "";
      }
      return;
    }
    const counts = table.counts(column, passed);
    for (const [code, { input, count, label }] of inputs) {
      input.checked = Boolean(filter?.codes.has(code));
      count.textContent = counts[code + 1];
      label.classList.toggle("empty", counts[code + 1] === 0 && !input.checked);
    }
  }

  function show(state, found) {
    filters = state.filters;
    passed = found;
    for (const entry of made) {
      if (entry.box.open && !entry.inputs) fill(entry);
      else refresh(entry);
    }
  }

  /** A filter in words, for the line above the runs. */
  function inWords(name, filter) {
    const column = table.named.get(name);
    if (filter.codes) return `${name} = ${[...filter.codes].map((code) => (code < 0 ? "none" : column.texts[code])).join(" or ")}`;
    if (filter.from === -Infinity) return `${name} ≤ ${filter.to}`;
    return filter.to === Infinity ? `${name} ≥ ${filter.from}` : `${name} ${filter.from} to ${filter.to}`;
  }

  return { start, show, inWords };
})();
