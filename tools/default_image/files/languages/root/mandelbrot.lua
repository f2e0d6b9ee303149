-- The Mandelbrot set in 256 colours. Run it with: lua mandelbrot.lua
local width, height, depth = 76, 22, 60

for row = 0, height - 1 do
  local line = {}
  for column = 0, width - 1 do
    local cx = column / width * 3.2 - 2.3
    local cy = row / height * 2.4 - 1.2
    local x, y, n = 0, 0, 0
    while x * x + y * y < 4 and n < depth do
      x, y, n = x * x - y * y + cx, 2 * x * y + cy, n + 1
    end
    local colour = n == depth and 16 or 17 + (n * 5) % 214
    line[#line + 1] = ("\27[48;5;%dm "):format(colour)
  end
  print(table.concat(line) .. "\27[0m")
end
