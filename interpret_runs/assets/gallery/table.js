"use strict";

/** The runs by column: what each run's values are, which runs pass the filters, and in which order. */
const table = (() => {
  const MANY = 12; // numbers from which on a range is asked for
  const LONGEST = 200; // values of a list
  const data = window.GALLERY || { name: "nothing", command: "", ids: [], finished: [], columns: [], same: [],
    artefacts: [], main: { values: [], codes: [] }, thumbnails: "", without: [], layers: [] };
  const size = data.ids.length;
  const rowOf = new Map(data.ids.map((id, row) => [id, row]));
  const same = new Map(data.same);
  const without = new Set(data.without);
  const layers = new Set(data.layers);
  const columns = data.columns.map(prepared);
  const named = new Map(columns.map((column) => [column.name, column]));
  const told = columns.filter((column) => column.values?.length > 1 && !column.twin && !["status", "task", "error", "unit"].includes(column.name));
  const said = [...told.filter((column) => column.kind === "choice"), ...told.filter((column) => column.name === "picture"),
    ...told.filter((column) => column.kind === "config" && column.name.includes("."))];
  let haystack = null;

  function prepared({ name, kind, values, codes, numbers, twin }) {
    if (numbers) {
      const held = Float64Array.from(numbers, (number) => (number === null ? NaN : number));
      return { name, kind, form: "range", numbers: held, number: (row) => held[row], text: (row) => (held[row] === held[row] ? inShort(held[row]) : "") };
    }
    const texts = values.map(String);
    const numeric = values.length > 0 && values.every((value) => typeof value === "number");
    const form = numeric && values.length > MANY ? "range" : values.length <= LONGEST ? "list" : "none";
    return {
      name, kind, twin, values, codes, texts, numeric, form: twin ? "none" : form,
      number: (row) => (codes[row] < 0 ? NaN : numeric ? values[codes[row]] : codes[row]),
      text: (row) => (codes[row] < 0 ? "" : texts[codes[row]]),
    };
  }

  /** A value in words, whether or not the column varies. */
  function text(row, name) {
    const column = named.get(name);
    if (column) return column.text(row);
    return same.has(name) ? String(same.get(name)) : "";
  }

  function title(row) {
    return text(row, "unit") || text(row, "objective") || text(row, "task") || data.ids[row];
  }

  /** What else tells a run from the others, in a few words. */
  function line(row) {
    const words = [];
    for (const column of said) {
      const value = column.text(row);
      if (value) words.push(column.name.includes(".") ? `${column.name.split(".").at(-1)} ${value}` : value);
      if (words.length === 3) break;
    }
    return words.join(" · ");
  }

  /** Rows for which a filter says no are counted; `failing` is the last such filter of each row. */
  function pass(filters, words) {
    const fails = new Uint8Array(size);
    const failing = new Int16Array(size).fill(-1);
    const active = [...filters.keys()];
    active.forEach((name, place) => {
      const { number, codes } = named.get(name);
      const filter = filters.get(name);
      for (let row = 0; row < size; row += 1) {
        const value = filter.codes ? codes[row] : number(row);
        const passes = filter.codes ? filter.codes.has(value) : value >= filter.from && value <= filter.to;
        if (!passes) {
          fails[row] += 1;
          failing[row] = place;
        }
      }
    });
    const wanted = words.toLowerCase().split(/\s+/).filter((word) => word);
    if (wanted.length) {
      const texts = searched();
      for (let row = 0; row < size; row += 1) {
        if (!wanted.every((word) => texts[row].includes(word))) {
          fails[row] += 1;
          failing[row] = -1;
        }
      }
    }
    return { fails, failing, active };
  }

  function searched() {
    if (!haystack) {
      const searchable = columns.filter((column) => column.codes);
      const always = data.same.map(([name, value]) => `${name}=${value}`).join(" ").toLowerCase();
      const words = searchable.map((column) => column.texts.map((value) => `${column.name}=${value} `.toLowerCase()));
      haystack = data.ids.map((id, row) => {
        let own = `${id} `;
        searchable.forEach(({ codes }, place) => (own += codes[row] < 0 ? "" : words[place][codes[row]]));
        return own + always;
      });
    }
    return haystack;
  }

  /** How many runs there would be with each value of a column (none first), whatever is chosen in that column. */
  function counts(column, { fails, failing, active }) {
    const found = new Int32Array(column.values.length + 1);
    const place = active.indexOf(column.name);
    for (let row = 0; row < size; row += 1) {
      if (fails[row] === 0 || (fails[row] === 1 && place >= 0 && failing[row] === place)) found[column.codes[row] + 1] += 1;
    }
    return found;
  }

  const orders = new Map();

  /** All rows in order of a column, those without a value last; without a column, as they were made. */
  function order(name, down) {
    const key = `${down} ${name}`;
    if (!orders.has(key)) {
      const rows = Array.from({ length: size }, (_, row) => row);
      const column = named.get(name);
      if (column) {
        const numbers = Float64Array.from(rows, (row) => column.number(row));
        const sign = down ? -1 : 1;
        rows.sort((a, b) => {
          if (numbers[a] !== numbers[a]) return numbers[b] !== numbers[b] ? a - b : 1;
          if (numbers[b] !== numbers[b]) return -1;
          return sign * (numbers[a] - numbers[b]) || a - b;
        });
      } else if (down) rows.reverse();
      orders.set(key, rows);
    }
    return orders.get(key);
  }

  function link(path) {
    return `../${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  function pathOf({ values, codes }, row) {
    return codes[row] < 0 ? null : values[codes[row]].replaceAll("*", data.ids[row]);
  }

  /** Paths of the files of a run, by artefact. */
  function artefacts(row) {
    const found = data.artefacts.map((artefact) => [artefact.name, pathOf(artefact, row)]);
    return new Map(found.filter(([, path]) => path !== null));
  }

  return {
    data, size, columns, named, same, rowOf, text, title, line, searched, pass, counts, order, artefacts, link,
    id: (row) => data.ids[row],
    failed: (row) => text(row, "status") === "failed",
    thumbnail: (row) => (without.has(row) ? null : `${data.thumbnails}/${data.ids[row]}.webp`),
    main: (row) => pathOf(data.main, row),
    layered: (row) => layers.has(row),
    command: (row) => `${data.command} "batch.ids=['${data.ids[row]}']"`,
  };
})();
