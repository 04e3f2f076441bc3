"use strict";
(() => {
  const EVERY = 2000; // milliseconds between two looks at a page that changes
  const PATIENCE = 5; // so many times as long as the server took, where that is longer

  for (const command of document.querySelectorAll(".commands dd")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(command.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    command.append(button);
  }
  for (const form of document.querySelectorAll("form[method=post]")) {
    form.addEventListener("submit", () => setTimeout(() => (form.querySelector("button").disabled = true)));
  }
  // A page that the browser kept is shown with its buttons as they were left: look at it anew.
  addEventListener("pageshow", (event) => event.persisted && location.reload());

  if (!("again" in document.body.dataset)) return;
  const offline = document.getElementById("offline");
  const say = (text) => {
    offline.textContent = text;
    offline.hidden = !text;
  };
  const LINKS = "a, button, summary";
  /* Takes over what is new, the focus staying where it was. */
  const renew = (fresh) => {
    for (const region of document.querySelectorAll("[data-live]")) {
      const made = fresh.getElementById(region.id);
      if (!made || made.innerHTML === region.innerHTML) continue;
      const chosen = getSelection();
      if (!chosen.isCollapsed && region.contains(chosen.anchorNode)) continue;
      const place = [...region.querySelectorAll(LINKS)].indexOf(document.activeElement);
      region.replaceChildren(...made.childNodes);
      if (place >= 0) region.querySelectorAll(LINKS)[place]?.focus({ preventScroll: true });
    }
    document.title = fresh.title;
  };
  const look = async () => {
    const begun = performance.now();
    try {
      const answer = await fetch(location.href, { redirect: "error" });
      if (answer.ok) {
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (fresh.body.dataset.state !== document.body.dataset.state) {
          location.reload();
          return;
        }
        renew(fresh);
        say("");
      } else if (answer.status === 403) {
        say("The web view was started anew: open the address that it printed.");
      } else {
        say("The stack does not answer at the moment. What is shown here may be out of date; it is tried again.");
      }
    } catch {
      say("The web view does not answer: it may have been ended at its terminal. The batch goes on without it.");
    }
    wait(Math.max(EVERY, PATIENCE * (performance.now() - begun)));
  };
  const wait = (pause) =>
    setTimeout(() => {
      if (document.hidden) document.addEventListener("visibilitychange", look, { once: true });
      else look();
    }, pause);
  wait(EVERY);
})();
