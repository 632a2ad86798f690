// What makes pages that work without it better: lists that follow one's typing, logs that follow the task, lines copied.
"use strict";

async function fetched(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// a list follows what is typed into its filter
for (const form of document.querySelectorAll("form[data-live]")) {
  const input = form.querySelector("input");
  let waiting, asked = 0;
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const number = ++asked;
      const address = `${location.pathname}?${new URLSearchParams({ q: input.value })}`;
      try {
        const found = await fetched(address);
        if (number !== asked) return;
        for (const part of document.querySelectorAll(form.dataset.live)) {
          part.replaceChildren(...found.getElementById(part.id).childNodes);
        }
        history.replaceState(null, "", address);
        improve();
      } catch {
        form.submit(); // the page itself tells what is wrong
      }
    }, 150);
  });
}

// a task is looked at each second until it ends; lines are added, so that a screen reader tells only the new ones
function follow() {
  const task = document.querySelector("#task[data-follow]");
  if (!task) return;
  setTimeout(async () => {
    try {
      const now = (await fetched(location.href)).querySelector("#task");
      const log = task.querySelector(".log"), list = log.querySelector("ol"), lines = now.querySelector(".log ol").children;
      const end = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
      gone(false);
      if (now.dataset.before !== task.dataset.before || !now.hasAttribute("data-follow")) {
        task.replaceWith(now);
        return follow();
      }
      const state = task.querySelector("h2 .badge"), told = now.querySelector("h2 .badge");
      if (state.textContent !== told.textContent) state.replaceWith(told);
      list.append(...[...lines].slice(list.children.length));
      if (end) log.scrollTop = log.scrollHeight;
    } catch {
      gone(true);
    }
    follow();
  }, 1000);
}

// a list of tasks is looked at again, and drawn anew where something changed
const fresh = document.querySelector("[data-fresh]");
if (fresh) {
  setInterval(async () => {
    if (document.hidden || fresh.contains(document.activeElement)) return;
    try {
      const now = (await fetched(location.href)).getElementById(fresh.id);
      if (now && now.textContent !== fresh.textContent) fresh.replaceChildren(...now.childNodes);
      gone(false);
    } catch {
      gone(true);
    }
  }, 2000);
}

// who looks at a page that follows something is told when nobody answers any more
function gone(silent) {
  const told = document.querySelector("#gone");
  if (!silent) return told && told.remove();
  if (told) return;
  const words = document.createElement("p");
  words.id = "gone";
  words.className = "refused";
  words.setAttribute("role", "alert");
  words.textContent = "The portal does not answer: it has ended, or is busy. What stands here may be over.";
  document.querySelector("main").prepend(words);
}

// a page that the browser kept from before, as it goes back, is looked at anew
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// what was drawn anew is improved as well
function improve() {
  for (const button of document.querySelectorAll("button[data-copy][hidden]")) {
    button.hidden = false;
    const words = button.innerHTML;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.innerHTML = words; }, 1500);
    });
  }
}

for (const select of document.querySelectorAll("select[data-submit]")) {
  select.form.classList.add("quick");
  select.addEventListener("change", () => select.form.submit());
}

improve();
follow();
