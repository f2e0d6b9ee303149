import assert from "node:assert/strict";
import { test } from "node:test";
import { relayFailure } from "../../web/page/relay.js";

/** @param {string} relay */
const said = (relay, how = {}) =>
  relayFailure(relay, { wanted: false, foreign: false, ...how })?.message;

test("a relay has an address of a WebSocket", () => {
  for (const relay of ["", "wss://relay.example/", "ws://localhost:5001/"])
    assert.equal(said(relay), undefined);
  for (const relay of ["relay.example", "https://relay.example/", "javascript:alert(1)", "wss:"])
    assert.match(said(relay) ?? "", /is not the address of a relay/);
});

test("a network by a relay needs one", () => {
  assert.match(said("", { wanted: true }) ?? "", /there is none/);
});

test("a link cannot name a relay that is reached without encryption", () => {
  assert.equal(said("wss://relay.example/", { foreign: true }), undefined);
  assert.match(said("ws://localhost:5001/", { foreign: true }) ?? "", /the link/);
});
