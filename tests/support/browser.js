// Uses the dashboard in a real Chromium, by the keyboard alone, and prints what it has seen as JSON. For tests/e2e/test_dashboard_browser.py:
//   NODE_PATH=…/node_modules node browser.js URL TOKEN PROFILE-FOLDER CHROMIUM PICTURE-FOLDER
"use strict";
const fs = require("fs");
const path = require("path");
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [url, token, profile, executablePath, pictures] = process.argv.slice(2);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const seen = { errors: [], axe: {}, widths: {}, outside: [] };

async function main() {
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: FLAGS });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  page.on("console", (line) => { if (line.type() === "error") seen.errors.push(line.text()); });
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("dialog", async (dialog) => { seen.errors.push(`dialog: ${dialog.message()}`); await dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) seen.outside.push(request.url()); });
  const text = (id) => page.textContent(`#${id}`);
  const says = (id, part) => page.waitForFunction(([id, part]) => document.getElementById(id).textContent.includes(part), [id, part]);
  const judge = async (name) => {
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run());
    seen.axe[name] = found.violations.map((each) => `${each.impact}: ${each.id} ${each.nodes[0].target}`);
    seen.widths[name] = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (pictures) await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
  };
  // Tab until an element has the focus, as somebody without a mouse does.
  const reach = async (id) => {
    for (let steps = 0; steps < 300; steps += 1) {
      if (await page.evaluate((id) => document.activeElement.id === id, id)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`#${id} is out of the keyboard's reach`);
  };

  for (const [name, colorScheme, width] of [["light", "light", 1280], ["dark", "dark", 1280], ["phone", "light", 390]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await page.goto(url);
    await page.waitForFunction(() => document.querySelector("#recent tbody tr") && document.querySelector("#entries tbody tr"));
    await judge(name);
  }
  seen.markup = await page.evaluate(() => [document.querySelectorAll("img, iframe, script:not([src])").length, typeof window.hacked]);
  seen.recent = await text("recent");
  seen.refused = await text("refused");

  await page.setViewportSize({ width: 1280, height: 900 });
  seen.focusable = await page.evaluate(() => [...document.querySelectorAll("button, input, select, a[href], .scroll")].filter((each) => each.checkVisibility() && !each.disabled).length);
  await page.evaluate(() => document.activeElement.blur());
  const reached = new Set();
  for (let steps = 0; steps < 200; steps += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const each = document.activeElement;
      if (each === document.body) return null;
      each.dataset.at ||= String(document.querySelectorAll("[data-at]").length);
      return [each.dataset.at, getComputedStyle(each).outlineStyle !== "none"];
    });
    if (!at || reached.has(at[0])) break;
    reached.add(at[0]);
    if (!at[1]) seen.errors.push(`no outline on ${await page.evaluate(() => document.activeElement.outerHTML)}`);
  }
  seen.reached = reached.size;

  await reach("pause");
  await page.keyboard.press("Space");
  seen.paused = await page.getAttribute("#pause", "aria-pressed");
  seen.figures = await page.evaluate(() => Object.fromEntries(["requests", "hit-ratio", "byte-hit-ratio", "sent", "evicted", "store-text"].map((id) => [id, document.getElementById(id).textContent])));
  await page.keyboard.press("Space");

  await reach("q");
  await page.keyboard.type("entry-0");
  await page.keyboard.press("Enter");
  await says("found", "of 60");
  seen.first = await text("found");
  await reach("next");
  await page.keyboard.press("Enter");
  await says("page", "Page 2");
  await page.keyboard.press("Enter");
  await says("page", "Page 3");
  seen.last = await text("found");
  seen.next_is_over = await page.isDisabled("#next");

  await reach("token");
  await page.keyboard.type("wrong-wrong-wrong");
  await page.keyboard.press("Enter");
  await says("done", "does not have the admin token");
  await page.fill("#token", "");
  await page.focus("#token");
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await says("done", "the token is right");
  await page.waitForFunction(() => document.querySelector("#entries td button"));
  await judge("unlocked");

  await reach("q");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("entry-007");
  await page.keyboard.press("Enter");
  await says("found", "1 to 1 of 1");
  await page.waitForFunction(() => document.querySelector("#entries td button"));
  for (let steps = 0; steps < 50 && await page.evaluate(() => document.activeElement.textContent !== "Purge"); steps += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("confirm").open);
  await judge("dialog");
  await page.keyboard.press("Escape");
  seen.after_escape = await text("found");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("confirm").open);
  await reach("confirm-yes");
  await page.keyboard.press("Enter");
  await says("found", "Nothing found.");
  seen.purged = await text("done");

  await reach("offline");
  await page.keyboard.press("Space");
  await says("state", "offline");
  await says("offline", "Go online");
  await page.keyboard.press("Space");
  await says("done", "online: upstreams are asked again");
  await says("offline", "Go offline");
  await reach("lock");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => !document.getElementById("unlock").hidden);
  seen.stored_in_browser = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  await context.close();
}

main().catch((error) => seen.errors.push(`${error.message}`.slice(0, 2000))).finally(() => { console.log(JSON.stringify(seen)); process.exit(0); });
