// The dashboard: asks for dashboard.json every two seconds and shows it. What clients and upstreams have written is only ever set as
// the text of an element; nothing here makes markup of a text, and the page's Content-Security-Policy (Trusted Types) would refuse it.
"use strict";

const EVERY = 2000; // milliseconds between two looks
const PER_PAGE = 25; // stored entries of one page, as the proxy sends them
const FEW = 12; // requests shown at first
const HISTORY = 60; // points of the trend of requests a second

const $ = (id) => document.getElementById(id);

const state = { token: "", found: null, search: null, offline: false, paused: false, more: false, data: null, timer: 0, last: null, trend: [], shown: new Map(), progress: new Map() };

// Figures as people read them

const counted = new Intl.NumberFormat("en");

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let number = bytes, unit = 0;
  while (number >= 1024 && unit < units.length - 1) { number /= 1024; unit += 1; }
  return `${number.toFixed(unit === 0 || number >= 100 ? 0 : 1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

const share = (ratio) => `${(100 * ratio).toFixed(1)} %`;
const day = (seconds) => new Date(seconds * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

// Elements

function element(name, classes = "", ...children) {
  const made = document.createElement(name);
  if (classes) made.className = classes;
  made.append(...children);
  return made;
}

// A column of a table: its title, how a row is shown in it, and its classes.
const column = (title, show, classes = "") => ({ title, show, classes });

function table(caption, columns, rows) {
  const head = element("tr");
  for (const each of columns) {
    const cell = element("th", each.classes, each.title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = element("tbody");
  for (const row of rows) {
    body.append(element("tr", "", ...columns.map((each) => element("td", each.classes, each.show(row)))));
  }
  const made = element("table", "", element("caption", "", caption), element("thead", "", head), body);
  const frame = element("div", "scroll", made);
  frame.tabIndex = 0; // so that the keyboard can scroll it
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", caption);
  return frame;
}

// Asks the proxy, with the admin token if the page is unlocked. A 503 means to ask again: it takes other options just now, or is busy.
async function ask(path, options = {}, tries = 3) {
  const headers = { ...options.headers, ...(state.token ? { "Pypi-Cache-Token": state.token } : {}) };
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(30000), ...options, headers });
  if (answer.status === 503 && answer.headers.has("Retry-After") && tries > 1) {
    await new Promise((done) => { setTimeout(done, 400); });
    return ask(path, options, tries - 1);
  }
  if (!answer.ok) throw Object.assign(new Error((await answer.text()).trim() || `the proxy answers ${answer.status}`), { status: answer.status });
  return answer.json();
}

// Puts a table in its place, unless nothing has changed: what is being read or selected stays as it is.
function place(id, rows, columns, caption, nothing) {
  const key = JSON.stringify([rows, columns.map((each) => each.title)]);
  if (state.shown.get(id) === key) return;
  state.shown.set(id, key);
  const focused = $(id).contains(document.activeElement);
  $(id).replaceChildren(rows.length ? table(caption, columns, rows) : element("p", "empty", nothing));
  if (focused) $(id).querySelector("[tabindex]")?.focus({ preventScroll: true });
}

function write(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

// The parts of the page

function showState(data) {
  const problems = data.attention.length;
  const words = problems ? `${problems} ${problems === 1 ? "thing needs" : "things need"} a person` : "All well";
  write("state", data.offline ? `${words} · offline: only what is stored is served` : words);
  $("state").className = `state ${problems ? "bad" : data.offline ? "warn" : "good"}`;
  write("version", data.version);
  write("uptime", duration(data.stats.uptime_seconds));
  state.offline = data.offline;
  $("changes").hidden = !data.can_change;
  write("offline", data.offline ? "Go online" : "Go offline");
  const key = JSON.stringify(data.attention);
  if (state.shown.get("attention") !== key) {
    state.shown.set("attention", key);
    $("attention-list").replaceChildren(...data.attention.map((line) => element("li", "", line)));
    $("attention").hidden = !problems;
  }
}

function showFigures(data) {
  const stats = data.stats, asked = stats.requests.total - stats.requests.by_source.proxy;
  write("hit-ratio", asked ? share(stats.hit_ratio) : "–");
  write("byte-hit-ratio", asked ? share(stats.byte_hit_ratio) : "–");
  write("bytes-saved", size(stats.saved.bytes));
  write("time-saved", stats.saved.seconds === null ? "–" : duration(stats.saved.seconds));
  write("requests", counted.format(asked));
  write("sent", size(stats.bytes.sent));
  write("evicted", stats.evictions.entries ? `${counted.format(stats.evictions.entries)} (${size(stats.evictions.bytes)})` : "none");
  showRate(data.time, asked);
}

function showRate(time, asked) {
  const last = state.last;
  state.last = { time, asked };
  if (!last || time <= last.time || asked < last.asked) return;
  const rate = (asked - last.asked) / (time - last.time);
  state.trend = [...state.trend, rate].slice(-HISTORY);
  write("rate", rate >= 100 ? counted.format(Math.round(rate)) : rate.toFixed(1));
  if (state.trend.length < 3) return;
  const most = Math.max(1, ...state.trend);
  const points = state.trend.map((each, at) => `${(100 * at) / (HISTORY - 1)},${19 - (18 * each) / most}`).join(" ");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points);
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("viewBox", "0 0 100 20");
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.append(line);
  $("trend").replaceChildren(drawing);
}

function showStore(store) {
  const used = store.disk_bytes - store.disk_free_bytes;
  const meter = (id, value, most, high) => Object.assign($(id), { max: most || 1, low: 0, high, optimum: 0, value });
  meter("store-meter", store.bytes, store.max_bytes, store.max_bytes); // a full store evicts, and all is well
  meter("disk-meter", used, store.disk_bytes, store.disk_bytes - store.disk_min_free_bytes);
  write("store-text", `${size(store.bytes)} of ${size(store.max_bytes)}, ${counted.format(store.entries)} entries`);
  write("disk-text", `${size(store.disk_free_bytes)} free of ${size(store.disk_bytes)}; ${size(store.disk_min_free_bytes)} are to stay free`);
}

function progressOf(row) {
  const bar = element("progress");
  bar.setAttribute("aria-label", `Progress of ${row.name}`);
  if (row.total) { bar.max = row.total; bar.value = row.bytes; }
  return bar;
}

function showDownloads(data) {
  const before = state.progress;
  state.progress = new Map(data.downloads.map((row) => [row.name, { bytes: row.bytes, time: data.time }]));
  const speed = (row) => {
    const last = before.get(row.name);
    return last && data.time > last.time && row.bytes >= last.bytes ? `${size((row.bytes - last.bytes) / (data.time - last.time))}/s` : "";
  };
  const columns = [
    column("File", (row) => row.name, "name"),
    column("Progress", progressOf),
    column("Bytes", (row) => (row.total ? `${size(row.bytes)} of ${size(row.total)}` : size(row.bytes)), "number wide"),
    column("Speed", speed, "number"),
  ];
  place("downloads", data.downloads, columns, "Files that are being fetched now", "None just now.");
}

const stateOf = (row) => element("strong", row.state === "ok" ? "good" : row.state === "offline" ? "warn" : "bad", row.state);

const who = (data) => (data.sees_all ? [column("Client", (row) => [row.user, row.client].filter(Boolean).join(" at "), "wide"), column("Agent", (row) => row.agent, "wide")] : []);

const moment = column("Time", (row) => {
  const made = element("time", "", clock(row.time));
  made.dateTime = new Date(row.time * 1000).toISOString();
  return made;
}, "short");

function showTables(data) {
  place("upstreams", data.upstreams, [
    column("Index", (row) => row.index, "short"),
    column("Upstream", (row) => row.upstream),
    column("State", stateOf, "short"),
    column("Last trouble", (row) => row.why, "wide"),
  ], "Where each index is fetched from", "None.");
  place("projects", data.projects, [
    column("Project", (row) => row.name, "name"),
    column("Requests", (row) => counted.format(row.requests), "number"),
    column("Hits", (row) => share(row.hits / row.requests), "number"),
    column("Sent", (row) => size(row.bytes), "number"),
  ], "Projects by number of requests", "Nothing was asked for yet.");
  $("more").parentElement.hidden = data.recent.length <= FEW;
  place("recent", state.more ? data.recent : data.recent.slice(0, FEW), [
    moment,
    column("Asked for", (row) => row.what, "name"),
    column("Status", (row) => element("span", row.status >= 500 ? "bad" : row.status >= 400 ? "warn" : "", String(row.status)), "short"),
    column("Cache", (row) => row.cache || "–", "wide"),
    column("From", (row) => row.source, "short"),
    column("Bytes", (row) => size(row.bytes), "number wide"),
    column("Took", (row) => duration(row.seconds), "number wide"),
    ...who(data),
  ], "The last requests for packages, the latest first", "Nothing was asked for yet.");
  place("refused", data.refused, [
    moment,
    column("Asked for", (row) => row.what, "name wide"),
    column("Status", (row) => String(row.status), "short wide"),
    column("Why", (row) => row.why),
    ...who(data),
  ], "The last requests that a rule refused, the latest first", "Nothing was refused.");
}

function show(data) {
  state.data = data;
  showState(data);
  showFigures(data);
  showStore(data.stats.store);
  showDownloads(data);
  showTables(data);
}

// Looking again and again

async function look() {
  clearTimeout(state.timer);
  try {
    show(await ask("dashboard.json"));
  } catch (error) {
    if ((error.status === 403 || error.status === 429) && state.token) lock(error.message);
    else {
      write("state", `No figures: ${error.message}`);
      $("state").className = "state bad";
    }
  }
  clearTimeout(state.timer);
  if (!state.paused && !document.hidden) state.timer = setTimeout(look, EVERY);
}

// The store's entries

function showEntries() {
  const found = state.found;
  const columns = [
    column("Name", (row) => row.name, "name"),
    column("Project", (row) => row.project, "wide"),
    column("Size", (row) => size(row.bytes), "number"),
    column("Stored", (row) => day(row.stored), "short wide"),
    column("Last asked for", (row) => day(row.asked), "short wide"),
  ];
  if (state.token) columns.push(column("Change", purgeButton, "short"));
  const from = (found.page - 1) * PER_PAGE;
  write("found", found.total ? `${counted.format(from + 1)} to ${counted.format(from + found.rows.length)} of ${counted.format(found.total)}` : "Nothing found.");
  place("entries", found.rows, columns, "Release files and index pages in the store", "");
  $("pages").hidden = found.pages < 2;
  write("page", `Page ${counted.format(found.page)} of ${counted.format(found.pages)}`);
  $("previous").disabled = found.page <= 1;
  $("next").disabled = found.page >= found.pages;
}

async function search(page) {
  const asked = new URLSearchParams({ q: $("q").value, kind: $("kind").value, order: $("order").value, page: String(page) });
  state.search = asked;
  try {
    const found = await ask(`entries.json?${asked}`);
    if (state.search !== asked) return; // another search has begun since
    if (page > found.pages) { await search(found.pages); return; }
    state.found = found;
    showEntries();
  } catch (error) {
    if (state.search === asked) write("found", `Not found: ${error.message}`);
  }
}

function purgeButton(row) {
  const made = element("button", "danger", "Purge");
  made.type = "button";
  made.setAttribute("aria-label", `Purge ${row.project}`);
  made.addEventListener("click", () => purge(row.project));
  return made;
}

// Changes: each asks the proxy with the token, which is kept in this page alone and forgotten with it

async function change(what, button) {
  if (button) button.disabled = true;
  try {
    const answer = await ask("admin", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) });
    write("done", answer.done);
    return true;
  } catch (error) {
    write("done", error.message);
    return false;
  } finally {
    if (button) button.disabled = false;
  }
}

function purge(project) {
  write("confirm-title", `Remove all that is stored of ${project}? It is fetched again when a client asks for it.`);
  const asking = $("confirm");
  asking.returnValue = "no";
  asking.onclose = async () => {
    if (asking.returnValue === "yes" && await change({ action: "purge", project })) {
      await search(state.found ? state.found.page : 1);
      $("q").focus();
    }
  };
  asking.showModal();
}

function lock(why) {
  state.token = "";
  $("unlock").hidden = false;
  $("unlocked").hidden = true;
  write("done", why);
  if (state.found) search(state.found.page);
}

$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  state.token = $("token").value;
  if (!await change({ action: "check" })) { state.token = ""; return; }
  $("token").value = "";
  $("unlock").hidden = true;
  $("unlocked").hidden = false;
  $("offline").focus();
  look();
  search(state.found ? state.found.page : 1);
});

$("lock").addEventListener("click", () => { lock("Locked."); $("token").focus(); look(); });
$("offline").addEventListener("click", async () => { await change({ action: "offline", on: !state.offline }, $("offline")); $("offline").focus(); look(); });
$("reload").addEventListener("click", async () => { await change({ action: "reload" }, $("reload")); $("reload").focus(); look(); });

$("search").addEventListener("submit", (event) => { event.preventDefault(); search(1); });
for (const id of ["kind", "order"]) $(id).addEventListener("change", () => search(1));
$("previous").addEventListener("click", () => search(state.found.page - 1));
$("next").addEventListener("click", () => search(state.found.page + 1));

$("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  $("pause").setAttribute("aria-pressed", String(state.paused));
  if (state.paused) clearTimeout(state.timer); else look();
});

$("more").addEventListener("click", () => {
  state.more = !state.more;
  $("more").setAttribute("aria-expanded", String(state.more));
  write("more", state.more ? "Show fewer" : "Show more");
  if (state.data) showTables(state.data);
});

document.addEventListener("visibilitychange", () => { if (!document.hidden && !state.paused) look(); });

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("line").textContent);
    write("copy", "Copied");
  } catch { // over plain http browsers have no clipboard: select it, so that Ctrl-C does
    getSelection().selectAllChildren($("line"));
    write("copy", "Selected: press Ctrl-C");
  }
});

look();
search(1);
