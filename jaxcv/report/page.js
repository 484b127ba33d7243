"use strict";
// A click on a heading sorts the table by that column, a second click the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const descending = heading.getAttribute("aria-sort") === "ascending";
      const key = (row) => row.cells[column].dataset.key;
      const isNumber = heading.classList.contains("number");
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        isNumber ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b)));
      if (descending) rows.reverse();
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
    });
  });
}
