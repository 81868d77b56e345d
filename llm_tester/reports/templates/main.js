// The theme, and the start of the page.

const THEME = "llm_tester theme";

function remembered() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // storage is closed to files and sandboxed frames in some browsers
  }
}

function remember(theme) {
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // The theme then lasts until the page is left.
  }
}

const OTHER = { light: "dark", dark: "light" };
const SYSTEM = matchMedia("(prefers-color-scheme: dark)");

// A theme in the address comes first, then the one that was chosen before, then the system's.
function followTheme() {
  const theme = [view.theme, remembered(), SYSTEM.matches ? "dark" : "light"].find((name) => name in OTHER);
  document.documentElement.dataset.theme = theme;
  // The button says what it does, not what is.
  find("#theme").lastElementChild.textContent = `Switch to ${OTHER[theme]} theme`;
}

function startTheme() {
  SYSTEM.addEventListener("change", followTheme);
  find("#theme").addEventListener("click", () => {
    view.theme = OTHER[document.documentElement.dataset.theme];
    remember(view.theme);
    followTheme();
    writeState();
  });
}

startTheme();
startMatrix();
startDetail();
followAddress();
startScatter();
startFields();
performance.mark("report-ready");
