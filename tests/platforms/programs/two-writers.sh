# Two processes write to one SQLite database at the same time.
set -e
database=/tmp/two.db
sqlite3 $database 'pragma journal_mode = wal; create table entry (writer, number);' >/dev/null
write() {
	for number in 1 2 3 4 5; do
		sqlite3 -cmd '.timeout 60000' $database \
			"begin immediate; insert into entry values ('$1', $number); commit;"
	done
}
write a &
write b &
wait
sqlite3 $database 'select writer, count(*), sum(number) from entry group by writer;
pragma integrity_check;'
