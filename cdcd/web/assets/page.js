// Keeps the status page up to date while somebody looks at it, and says so when the daemon is not reachable any more.
"use strict";

(() => {
  const pulse = document.getElementById("pulse");
  const silence = document.getElementById("silence");
  const main = document.getElementById("main");
  const refreshMs = Number(pulse.dataset.refreshSeconds) * 1000;
  const answerMs = 6000;
  let timer = 0;
  let asking = null;
  let heardAt = Date.now();

  const clock = (at) => new Date(at).toLocaleTimeString();

  function show(state, text) {
    pulse.dataset.state = state;
    if (pulse.textContent !== text) pulse.textContent = text;
  }

  function head(level, title) {
    const icon = document.getElementById("icon");
    const href = pulse.dataset[level];
    document.documentElement.dataset.level = level;
    if (icon.getAttribute("href") !== href) icon.setAttribute("href", href);
    if (document.title !== title) document.title = title;
  }

  // What somebody reads, marks or has opened stays as it is: only sections that differ are exchanged.
  function isHeld(section) {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed && section.contains(selection.anchorNode);
  }

  function exchange(before, after) {
    if (before.innerHTML === after.innerHTML || isHeld(before)) return;
    const open = [...before.querySelectorAll("details[open]")].map((found) => found.id);
    for (const id of open) after.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
    if (before.innerHTML === after.innerHTML) return;
    const focused = before.contains(document.activeElement) ? document.activeElement : null;
    const same = focused && (focused.getAttribute("href") ?? focused.parentElement?.id);
    before.replaceWith(after);
    if (same) {
      const escaped = CSS.escape(same);
      after.querySelector(`a[href="${escaped}"], #${escaped} > summary`)?.focus({ preventScroll: true });
    }
  }

  function put(text) {
    const parsed = new DOMParser().parseFromString(text, "text/html");
    const after = parsed.getElementById("live");
    const before = document.getElementById("live");
    if (after === null) throw new Error("not a status page");
    const names = (live) => [...live.querySelectorAll("section")].map((section) => section.id).join();
    if (before !== null && names(before) === names(after)) {
      const fresh = new Map([...after.querySelectorAll("section")].map((section) => [section.id, section]));
      for (const section of before.querySelectorAll("section")) exchange(section, fresh.get(section.id));
      Object.assign(before.dataset, after.dataset);
    } else if (before !== null) {
      exchange(before, after);
    } else {
      main.replaceChildren(after);
    }
    head(after.dataset.level, after.dataset.title);
  }

  function reached() {
    heardAt = Date.now();
    silence.hidden = true;
    delete document.documentElement.dataset.reach;
    show("live", `live, ${clock(heardAt)}`);
  }

  function lost(why) {
    document.documentElement.dataset.reach = "lost";
    const text = `${why} What is below is from ${clock(heardAt)}.`;
    if (silence.textContent !== text) silence.textContent = text;
    silence.hidden = false;
    show("lost", "not live");
    head("silent", `No answer · ${document.title.split(" · ").pop()}`);
  }

  async function ask() {
    asking = new AbortController();
    const limit = setTimeout(() => asking.abort(), answerMs);
    try {
      const answer = await fetch("/live", { cache: "no-store", signal: asking.signal });
      if (answer.ok) {
        put(await answer.text());
        reached();
      } else if (answer.status === 401) {
        lost("The password is asked for again: load the page anew.");
      } else {
        const reason = (await answer.json().catch(() => null))?.reasons?.[0]?.message;
        lost(`The daemon does not answer${reason ? `: ${reason}` : ""}.`);
      }
    } catch {
      if (!document.hidden) lost("The daemon is not reachable.");
    } finally {
      clearTimeout(limit);
      asking = null;
    }
  }

  async function turn() {
    clearTimeout(timer);
    if (asking !== null) return;
    await ask();
    if (!document.hidden) timer = setTimeout(turn, refreshMs);
  }

  // Nobody looks: nobody is asked.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      show("paused", `paused, ${clock(heardAt)}`);
    } else {
      turn();
    }
  });

  show("live", `live, ${clock(heardAt)}`);
  if (!document.hidden) timer = setTimeout(turn, refreshMs);
})();
