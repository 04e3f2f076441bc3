"use strict";
(() => {
  const STEP = 100; // rows that are added at a time
  const data = JSON.parse(document.getElementById("data").textContent);
  const id = (name) => document.getElementById(name);
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  for (const command of document.querySelectorAll(".commands dd")) {
    if (!navigator.clipboard) break;
    const button = make("button", "", "Copy");
    button.type = "button";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    command.append(button);
  }
  if (!id("filters")) return;

  const [LABEL, STATUS, TOOK, AT, CAUSE, ATTEMPTS, ERROR, IN, IN_CELLS, OUT, OUT_CELLS] = Array(11).keys();
  const rows = data.rows.map((row, order) => ({
    order,
    label: row[LABEL],
    number: /^\d+$/.test(row[LABEL]) ? Number(row[LABEL]) : Infinity,
    status: data.statuses[row[STATUS]],
    took: row[TOOK],
    at: row[AT],
    cause: row[CAUSE],
    attempts: row[ATTEMPTS],
    error: row[ERROR],
    input: data.names[row[IN]].map((name, place) => [name, row[IN_CELLS][place]]),
    output: data.names[row[OUT]].map((name, place) => [name, row[OUT_CELLS][place]]),
  }));
  const text = (row) =>
    (row.text ??= [row.label, row.error, ...row.input.flat(), ...row.output.flat()].join("\n").toLowerCase());
  const last = (value) => (value === null ? -1 : value);
  const ORDERS = {
    "": (a, b) => a.order - b.order,
    row: (a, b) => a.number - b.number || a.order - b.order,
    slow: (a, b) => last(b.took) - last(a.took) || a.order - b.order,
    fast: (a, b) => (a.took ?? Infinity) - (b.took ?? Infinity) || a.order - b.order,
    late: (a, b) => last(b.at) - last(a.at) || a.order - b.order,
  };

  const option = (select, value, shown) => {
    const made = make("option", "", shown);
    made.value = value;
    select.append(made);
  };
  const number = (value) => value.toLocaleString("en");
  for (const status of data.statuses) {
    option(id("status"), status, `${status} (${number(rows.filter((row) => row.status === status).length)})`);
  }
  data.causes.forEach((cause, place) => {
    const shown = rows.filter((row) => row.cause === place).length;
    const said = cause.length > 90 ? `${cause.slice(0, 89)}…` : cause;
    if (shown) option(id("cause"), String(place), `${said} (${number(shown)})`);
  });
  if (id("cause").options.length < 2) id("cause").parentElement.hidden = true;
  if (data.statuses.length < 2) id("status").parentElement.hidden = true;

  const UNITS = [[86400000, "d"], [3600000, "h"], [60000, "min"], [1000, "s"]];
  const duration = (ms) => {
    if (ms === null) return "";
    if (ms < 1000) return `${ms} ms`;
    if (ms < 59950) return `${Number((ms / 1000).toPrecision(3))} s`;
    const whole = Math.round(ms / 1000) * 1000;
    const place = UNITS.findIndex(([unit]) => whole >= unit);
    const rest = Math.floor((whole % UNITS[place][0]) / UNITS[place + 1][0]);
    return `${Math.floor(whole / UNITS[place][0])} ${UNITS[place][1]}${rest ? ` ${rest} ${UNITS[place + 1][1]}` : ""}`;
  };
  /* Text and nothing but text: what was searched for is marked in it. */
  const put = (element, shown, wanted) => {
    const low = shown.toLowerCase();
    let from = 0;
    if (wanted && low.length === shown.length) {
      for (let at = low.indexOf(wanted); at >= 0; at = low.indexOf(wanted, from)) {
        element.append(shown.slice(from, at), make("mark", "", shown.slice(at, at + wanted.length)));
        from = at + wanted.length;
      }
    }
    element.append(shown.slice(from));
    return element;
  };
  const cells = (pairs, wanted) => {
    const list = make("dl", "cells");
    for (const [name, value] of pairs.filter(([, value]) => value)) {
      const pair = make("div");
      const shown = put(make("dd"), value, wanted);
      shown.dir = "auto";
      pair.append(put(make("dt"), name, wanted), shown);
      list.append(pair);
    }
    const empty = pairs.filter(([, value]) => !value).map(([name]) => name);
    if (empty.length) {
      const pair = make("div");
      pair.append(make("dt", "", "empty"), put(make("dd", "said"), empty.join(", "), wanted));
      list.append(pair);
    }
    return list;
  };
  const flip = (line, toggle) => toggle.setAttribute("aria-expanded", String(line.classList.toggle("open")));
  const line = (row, wanted) => {
    const made = make("tr", row.status === "SUCCESS" ? "" : data.classes[data.statuses.indexOf(row.status)]);
    const toggle = make("button", "", row.label);
    toggle.type = "button";
    toggle.setAttribute("aria-expanded", "false");
    toggle.setAttribute("aria-label", `row ${row.label}, whole`);
    toggle.addEventListener("click", () => flip(made, toggle));
    const first = make("td", "n");
    first.append(toggle);
    const status = make("td");
    status.append(make("span", `chip ${data.classes[data.statuses.indexOf(row.status)]}`, row.status));
    const found = make("div", "fold");
    if (row.error) {
      const error = put(make("div", "cause-text"), row.error, wanted);
      error.dir = "auto";
      found.append(error);
    }
    if (row.output.length) found.append(cells(row.output, wanted));
    const runs = row.attempts > 1 ? `run ${row.attempts} times, ` : "";
    if (row.at !== null) {
      const stored = new Date(data.from_ms + row.at).toISOString().replace("T", " ").replace("Z", " UTC");
      found.append(make("div", "when", `${runs}stored ${stored}`));
    }
    const given = make("div", "fold");
    given.append(cells(row.input, wanted));
    const boxes = [found, given].map((box) => {
      const cell = make("td");
      cell.append(box);
      return cell;
    });
    made.append(first, status, make("td", "n", duration(row.took)), ...boxes);
    return made;
  };

  const body = id("table").tBodies[0];
  let chosen = [];
  let wanted = "";
  const add = () => {
    const from = body.rows.length;
    const fresh = chosen.slice(from, from + STEP).map((row) => line(row, wanted));
    body.append(...fresh);
    for (const box of wanted ? fresh.flatMap((one) => [...one.querySelectorAll(".fold")]) : []) {
      const mark = box.querySelector("mark");
      const hidden = mark && mark.getBoundingClientRect().top >= box.getBoundingClientRect().bottom;
      const whole = box.closest("tr");
      if (hidden && !whole.classList.contains("open")) flip(whole, whole.querySelector("button"));
    }
    const left = chosen.length - body.rows.length;
    id("more").hidden = left === 0;
    id("more").textContent = `Show ${number(Math.min(STEP, left))} more of ${number(left)}`;
  };
  const show = () => {
    const [status, cause] = [id("status").value, id("cause").value];
    wanted = id("search").value.trim().toLowerCase();
    chosen = rows.filter(
      (row) =>
        (!status || row.status === status) &&
        (!cause || row.cause === Number(cause)) &&
        (!wanted || text(row).includes(wanted)),
    );
    chosen.sort(ORDERS[id("sort").value]);
    body.replaceChildren();
    id("table").hidden = chosen.length === 0;
    id("shown").textContent = chosen.length === rows.length
      ? `${number(rows.length)} rows`
      : `${chosen.length ? number(chosen.length) : "None"} of ${number(rows.length)} rows here`;
    add();
  };

  let waiting;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 80);
  };
  for (const event of ["input", "change"]) id("filters").addEventListener(event, soon);
  id("filters").addEventListener("submit", (event) => event.preventDefault());
  id("filters").addEventListener("reset", () => setTimeout(show));
  id("more").addEventListener("click", () => {
    const from = body.rows.length;
    add();
    body.rows[from].querySelector("button").focus();
  });
  for (const button of document.querySelectorAll("button[data-cause]")) {
    if (![...id("cause").options].some((one) => one.value === button.dataset.cause)) continue;
    button.hidden = false;
    button.addEventListener("click", () => {
      id("filters").reset();
      id("cause").value = button.dataset.cause;
      show();
      id("rows").scrollIntoView();
      id("cause").focus({ preventScroll: true });
    });
  }
  id("filters").hidden = false;
  show();
})();
