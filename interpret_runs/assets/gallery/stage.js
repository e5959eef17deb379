"use strict";

/** The pictures of one run or of several, with sliders that move all of them together. */
const stage = (() => {
  const SHOWN = /\.(png|jpe?g|webp|gif)$/i;
  const SNAPSHOT = /^snapshot-(\d+)$/;
  const NAMES = { layers: "Map over photograph", image: "Image", overlay: "Overlay", heat_map: "Heat map", alpha: "Opacity",
    animation: "Animation", weakest: "Weakest", rendered: "Rendered" };

  let ready = []; // snapshots, so that the slider does not flicker
  // What was looked at last is looked at in the next run too.
  const last = { view: "", step: Infinity, opacity: null };

  /** What there is to see of a run: paths by view, and snapshots as [step, path] in order. */
  function sights(row) {
    const views = new Map();
    const snapshots = [];
    const main = table.main(row);
    if (table.layered(row)) views.set("layers", null);
    if (main) views.set(/overlay\./.test(main) ? "overlay" : "image", main);
    for (const [name, path] of table.artefacts(row)) {
      if (!SHOWN.test(path)) continue;
      const step = SNAPSHOT.exec(name);
      if (step) snapshots.push([Number(step[1]), path]);
      else if (path !== main) views.set(name, path);
    }
    snapshots.sort((a, b) => a[0] - b[0]);
    if (snapshots.length && main) snapshots.push([Infinity, main]);
    return { row, views, snapshots };
  }

  function build(rows) {
    const seen = rows.map(sights);
    const names = [...new Set(seen.flatMap(({ views }) => [...views.keys()]))];
    const steps = [...new Set(seen.flatMap(({ snapshots }) => snapshots.map(([step]) => step)))].sort((a, b) => a - b);
    const figures = seen.map(({ row }) => make("div", { class: "stage", "data-row": row }));
    const state = { view: names.includes(last.view) ? last.view : names[0], step: steps.includes(last.step) ? last.step : steps.at(-1) };
    ready = seen.flatMap(({ snapshots }) => snapshots.map(([, path]) => picture(table.link(path), "")));
    const redraw = () => seen.forEach((sight, place) => figures[place].replaceChildren(drawing(sight, state)));
    const bars = [];
    const stepBar = steps.length ? stepSlider(steps, state.step, (step) => ((last.step = state.step = step), redraw())) : null;
    const mapBar = names.includes("layers") ? opacitySlider(rows[0], figures) : null;
    const toggle = () => {
      if (stepBar) stepBar.hidden = state.view !== "image";
      if (mapBar) mapBar.hidden = state.view !== "layers";
    };
    if (names.length > 1) bars.push(views(names, state.view, (view) => ((last.view = state.view = view), toggle(), redraw())));
    bars.push(stepBar, mapBar);
    toggle();
    redraw();
    return { figures, controls: make("div", { class: "controls" }, ...bars) };
  }

  function drawing(sight, { view, step }) {
    const { row, views: has, snapshots } = sight;
    const title = table.title(row);
    if (!has.size) {
      return table.failed(row) ? make("p", { class: "reason" }, "Failed") : make("p", { class: "quiet" }, "No picture");
    }
    if (!has.has(view)) return make("p", { class: "quiet" }, `No ${(NAMES[view] || view).toLowerCase()}`);
    if (view === "layers") return layered(row, title);
    const near = snapshots.filter(([at]) => at <= step).pop() || snapshots[0];
    const path = view === "image" && near ? near[1] : has.get(view);
    const when = view === "image" && near && near[0] !== Infinity ? ` at step ${near[0]}` : "";
    return picture(table.link(path), `${NAMES[view] || view} of ${title}${when}`);
  }

  function picture(source, alt) {
    const image = make("img", { alt, draggable: "false" });
    image.onload = () => image.classList.toggle("tiny", image.naturalWidth < 128);
    image.onerror = () => image.replaceWith(make("p", { class: "quiet" }, "The picture is missing"));
    image.src = source;
    return image;
  }

  /** The map lies over the middle of the photograph, pixel on pixel. */
  function layered(row, title) {
    const photo = make("img", { alt: `Photograph under the map of ${title}`, src: `layers/${table.id(row)}.webp` });
    const map = make("img", { class: "map", alt: "", src: `layers/${table.id(row)}.png` });
    const host = make("div", { class: "layered" }, photo, map);
    const place = () => {
      if (!photo.naturalWidth || !map.naturalWidth) return;
      host.style.setProperty("--ratio", photo.naturalWidth / photo.naturalHeight);
      for (const [edge, length, side] of [["left", "width", "naturalWidth"], ["top", "height", "naturalHeight"]]) {
        map.style[edge] = `${(100 * Math.round((photo[side] - map[side]) / 2)) / photo[side]}%`;
        map.style[length] = `${(100 * map[side]) / photo[side]}%`;
      }
    };
    photo.onload = place;
    map.onload = place;
    return host;
  }

  function views(names, chosen, change) {
    const group = `view-${Math.random().toString(36).slice(2)}`;
    const options = names.map((name) => make("label", {},
      make("input", { type: "radio", name: group, value: name, checked: name === chosen, onchange: () => change(name) }),
      make("span", {}, NAMES[name] || name)));
    return make("fieldset", { class: "views" }, make("legend", { class: "unseen" }, "What is shown"), ...options);
  }

  function stepSlider(steps, chosen, change) {
    const told = make("output");
    const slider = make("input", { type: "range", min: 0, max: steps.length - 1, value: steps.indexOf(chosen) });
    const tell = (step) => {
      told.textContent = step === Infinity ? "end" : step;
      slider.setAttribute("aria-valuetext", step === Infinity ? "end" : `step ${step}`);
    };
    slider.addEventListener("input", () => {
      tell(steps[Number(slider.value)]);
      change(steps[Number(slider.value)]);
    });
    tell(chosen);
    return make("label", { class: "slider steps" }, make("span", {}, "Step"), slider, told);
  }

  function opacitySlider(row, figures) {
    const drawn = Number(table.text(row, "rendering.opacity"));
    const told = make("output");
    const slider = make("input", { type: "range", min: 0, max: 100, class: "opacity", value: last.opacity ?? Math.round(100 * (drawn > 0 ? drawn : 0.6)) });
    const change = () => {
      told.textContent = `${slider.value} %`;
      for (const figure of figures) figure.style.setProperty("--opacity", slider.value / 100);
    };
    slider.addEventListener("input", () => ((last.opacity = slider.value), change()));
    change();
    return make("label", { class: "slider" }, make("span", {}, "Map opacity"), slider, told);
  }

  return { build };
})();
