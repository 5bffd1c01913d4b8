"use strict";
// Times in the viewer's zone, with UTC on hover. Without this script they are in UTC.
const local = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
function localize(within) {
  for (const time of within.querySelectorAll("time[datetime]:not([title])")) {
    time.title = time.textContent;
    time.textContent = local.format(new Date(time.dateTime));
  }
}
localize(document);

// A run that is not finished: the server sends its state and new log lines as parts of the page.
const state = document.querySelector("[data-events]");
if (state) {
  const log = document.getElementById("log");
  const events = new EventSource(state.dataset.events);
  events.addEventListener("run", (event) => {
    state.innerHTML = event.data;
    localize(state);
  });
  events.addEventListener("log", (event) => {
    log.insertAdjacentHTML("beforeend", event.data);
    localize(log);
    log.closest(".scroll")?.scrollTo(0, log.scrollHeight);
  });
  events.addEventListener("end", () => {
    events.close();
    location.reload();
  });
}

// Nights: the months before are appended when the link to them comes into view. Without this script it is a link.
const months = document.getElementById("months");
let earlier = document.getElementById("earlier");
if (months && earlier) {
  const end = new IntersectionObserver(async (entries) => {
    if (!earlier || !entries.some((entry) => entry.isIntersecting)) {
      return;
    }
    end.disconnect();
    const response = await fetch(earlier.href);
    if (!response.ok) {
      return; // the link shows why
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    months.append(...page.getElementById("months").children);
    earlier.parentElement.replaceWith(page.querySelector("#months + nav"));
    earlier = document.getElementById("earlier");
    if (earlier) {
      end.observe(earlier);
    }
  }, { rootMargin: "400px" });
  end.observe(earlier);
}
