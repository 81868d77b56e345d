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

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  find("#theme").setAttribute("aria-pressed", theme === "dark");
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => showTheme(remembered() ?? (system.matches ? "dark" : "light"));
  follow();
  system.addEventListener("change", follow);
  find("#theme").addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    remember(theme);
    showTheme(theme);
  });
}

startTheme();
startMatrix();
startScatter();
startFields();
startDetail();
performance.mark("report-ready");
