// The primes below 1000, by the sieve of Eratosthenes. Run it with: js primes.js
var limit = 1000;
var composite = [];
var primes = [];

for (var n = 2; n < limit; n++) {
  if (composite[n]) continue;
  primes.push(n);
  for (var multiple = n * n; multiple < limit; multiple += n) composite[multiple] = true;
}
print(primes.join(" "));
print(primes.length + " primes below " + limit);
