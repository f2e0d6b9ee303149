-- Run it with: sqlite3 < planets.sql
CREATE TABLE planet (name TEXT, radius_km REAL, distance_au REAL, moons INTEGER);
INSERT INTO planet VALUES
  ('Mercury', 2440, 0.39, 0), ('Venus', 6052, 0.72, 0), ('Earth', 6371, 1.0, 1),
  ('Mars', 3390, 1.52, 2), ('Jupiter', 69911, 5.2, 95), ('Saturn', 58232, 9.54, 146),
  ('Uranus', 25362, 19.19, 27), ('Neptune', 24622, 30.07, 14);

.mode box
SELECT name,
       printf('%,d', radius_km) AS "radius (km)",
       round(sqrt(pow(distance_au, 3)), 1) AS "year (Earth years)",
       moons,
       rank() OVER (ORDER BY radius_km DESC) AS "by size"
FROM planet ORDER BY distance_au;
