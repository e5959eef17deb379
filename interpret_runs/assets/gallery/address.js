"use strict";

/** What is shown, as the part of the address after #: search, filters, sorting, chosen runs, and what is open. */
const address = (() => {
  const MOST = 6; // runs in a comparison

  function empty() {
    return { words: "", sort: "", down: false, filters: new Map(), chosen: [], open: "" };
  }

  function toText(state) {
    const parts = new URLSearchParams();
    if (state.words.trim()) parts.append("q", state.words.trim());
    if (state.sort) parts.append("sort", state.sort);
    if (state.down) parts.append("down", "1");
    for (const [name, filter] of state.filters) {
      const column = table.named.get(name);
      if (filter.codes) for (const code of filter.codes) parts.append(code < 0 ? "no" : `is.${name}`, code < 0 ? name : column.texts[code]);
      else parts.append(`in.${name}`, [filter.from, filter.to].map((end) => (Number.isFinite(end) ? end : "")).join("~"));
    }
    if (state.chosen.length) parts.append("runs", state.chosen.map(table.id).join(","));
    if (state.open) parts.append("open", state.open);
    return parts.toString();
  }

  /** The state that an address stands for; what this store does not have is left out. */
  function fromText(text) {
    const state = empty();
    for (const [key, value] of new URLSearchParams(text)) {
      const name = key.slice(3);
      if (key === "q") state.words = value;
      else if (key === "sort" && table.named.has(value)) state.sort = value;
      else if (key === "down") state.down = value === "1";
      else if (key === "no") choose(state, value, -1);
      else if (key.startsWith("is.")) choose(state, name, table.named.get(name)?.texts?.indexOf(value));
      else if (key.startsWith("in.")) between(state, name, value.split("~"));
      else if (key === "runs") state.chosen = [...new Set(value.split(","))].map((id) => table.rowOf.get(id)).filter((row) => row !== undefined).slice(0, MOST);
      else if (key === "open" && (value === "compare" || table.rowOf.has(value))) state.open = value;
    }
    if (state.open === "compare" && state.chosen.length < 2) state.open = "";
    return state;
  }

  function choose(state, name, code) {
    const column = table.named.get(name);
    if (!column?.codes || code === undefined || (code < 0 && !column.codes.includes(-1))) return;
    const filter = state.filters.get(name);
    if (filter?.codes) filter.codes.add(code);
    else state.filters.set(name, { codes: new Set([code]) });
  }

  function between(state, name, [from, to]) {
    const column = table.named.get(name);
    if (column?.form !== "range") return;
    const end = (text, other) => (text && Number.isFinite(Number(text)) ? Number(text) : other);
    const filter = { from: end(from, -Infinity), to: end(to, Infinity) };
    if (filter.from !== -Infinity || filter.to !== Infinity) state.filters.set(name, filter);
  }

  return { MOST, empty, toText, fromText };
})();
