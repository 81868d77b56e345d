"use strict";

// Makes elements. Text becomes text nodes and is never parsed as HTML, because replies may contain anything.

const find = (selector, within = document) => within.querySelector(selector);

// The namespace comes from an element of the page, so that the page has no address in it.
const SVG = find("#scatter svg").namespaceURI;

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

// A path that may be broken after its dots.
function pathName(path) {
  const parts = path.split(/(?<=\.)/);
  return make("code", {}, ...(path ? parts.flatMap((part) => [part, make("wbr")]) : ["(all)"]));
}

function embedded(id) {
  return JSON.parse(find(id).textContent);
}

// The details of all results are many, so they are parsed when the first of them is needed.

let parsed = null;

function details() {
  return (parsed ??= embedded("#report-details"));
}

function text(place) {
  return place === undefined || place === null ? null : details().texts[place];
}

function percent(value) {
  if (value === null) return "—";
  // 99.96 is not shown as 100: only what is all right is.
  const shown = value < 100 ? Math.min(value, 99.9) : value;
  return shown.toFixed(1).replace(/\.0$/, "");
}

// The class of the colour of an accuracy, 0 to 100.
function level(value) {
  return `s${INDEX.levels.filter((from) => value >= from).length}`;
}

function mean(numbers) {
  return numbers.length ? numbers.reduce((sum, number) => sum + number, 0) / numbers.length : null;
}

function deviation(numbers) {
  if (numbers.length < 2) return null;
  const middle = mean(numbers);
  const squares = numbers.reduce((sum, number) => sum + (number - middle) ** 2, 0);
  return Math.sqrt(squares / (numbers.length - 1));
}

function modelName({ provider, model }) {
  return [make("span", { class: "provider" }, provider), make("span", { class: "model" }, model)];
}

const INDEX = embedded("#report-index");
