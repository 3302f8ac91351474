package transfers

import (
	"context"
	"encoding/json"

	"techtalks.example/logic-tier/platform/postgres"
)

const addExportStatement = `
insert into transfers.export (operation, account_id)
values ($1, $2)
on conflict do nothing`

// addExport stores the account of an export.
func (s store) addExport(ctx context.Context, operation string, account int64) error {
	_, err := postgres.Exec(ctx, s.db, addExportStatement, operation, account)
	return err
}

// zipEntry is a written entry of a .zip, as its directory describes it. Batches are
// sent to the database as one JSON parameter.
type zipEntry struct {
	Number         int64  `json:"number"`
	Start          int64  `json:"start"`
	Path           string `json:"path"`
	Stored         bool   `json:"stored"`
	CRC32          uint32 `json:"crc32"`
	CompressedSize int64  `json:"compressed_size"`
	Size           int64  `json:"size"`
}

// When two workers write the same archive, the current one writes at higher offsets.
// Entries of the superseded worker are ignored.
const putEntriesStatement = `
insert into transfers.archived as a (operation, number, start, path, stored, crc32, compressed_size, size)
select $1, number, start, path, stored, crc32, compressed_size, size
from   jsonb_to_recordset($2::jsonb) as new (number bigint, start bigint, path text, stored boolean, crc32 bigint, compressed_size bigint, size bigint)
on conflict (operation, number) do update
set    start = excluded.start, path = excluded.path, stored = excluded.stored, crc32 = excluded.crc32,
       compressed_size = excluded.compressed_size, size = excluded.size
where  excluded.start >= a.start`

// putEntries stores written entries. It is idempotent.
func (s store) putEntries(ctx context.Context, operation string, entries []zipEntry) error {
	if len(entries) == 0 {
		return nil
	}
	rows, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	_, err = postgres.Exec(ctx, s.db, putEntriesStatement, operation, string(rows))
	return err
}

const entriesStatement = `
select number, start, path, stored, crc32, compressed_size, size
from   transfers.archived
where  operation = $1
  and  number >= $2
  and  number < $3
order by number`

// entries returns the entries numbered first to end-1.
func (s store) entries(ctx context.Context, operation string, first, end int64) ([]zipEntry, error) {
	return postgres.Collect(ctx, s.db, func(scan func(...any) error) (e zipEntry, err error) {
		err = scan(&e.Number, &e.Start, &e.Path, &e.Stored, &e.CRC32, &e.CompressedSize, &e.Size)
		return e, err
	}, entriesStatement, operation, first, end)
}

const deleteEntriesStatement = `
delete from transfers.archived
where  operation = $1`

func (s store) deleteEntries(ctx context.Context, operation string) error {
	_, err := postgres.Exec(ctx, s.db, deleteEntriesStatement, operation)
	return err
}
