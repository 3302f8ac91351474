package transfers

import (
	"context"
	"encoding/json"

	"techtalks.example/logic-tier/platform/postgres"
)

// archived is an entry of an archive that is finished: what its directory says.
// As JSON: one parameter a batch.
type archived struct {
	Number         int64  `json:"number"`
	Start          int64  `json:"start"`
	Path           string `json:"path"`
	Stored         bool   `json:"stored"`
	CRC32          uint32 `json:"crc32"`
	CompressedSize int64  `json:"compressed_size"`
	Size           int64  `json:"size"`
}

// Of two workers that write the same archive, the one that goes on writes
// further back in it; what the other says comes too late.
const addArchivedStatement = `
insert into transfers.archived as a (operation, number, start, path, stored, crc32, compressed_size, size)
select $1, number, start, path, stored, crc32, compressed_size, size
from   jsonb_to_recordset($2::jsonb) as new (number bigint, start bigint, path text, stored boolean, crc32 bigint, compressed_size bigint, size bigint)
on conflict (operation, number) do update
set    start = excluded.start, path = excluded.path, stored = excluded.stored, crc32 = excluded.crc32,
       compressed_size = excluded.compressed_size, size = excluded.size
where  excluded.start >= a.start`

func (s store) addArchived(ctx context.Context, operation string, all []archived) error {
	if len(all) == 0 {
		return nil
	}
	rows, err := json.Marshal(all)
	if err != nil {
		return err
	}
	_, err = postgres.Exec(ctx, s.db, addArchivedStatement, operation, string(rows))
	return err
}

const archivedStatement = `
select number, start, path, stored, crc32, compressed_size, size
from   transfers.archived
where  operation = $1
  and  number >= $2
  and  number < $3
order by number`

// archived returns the entries from one number up to, and without, another.
func (s store) archived(ctx context.Context, operation string, from, to int64) ([]archived, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (a archived, err error) {
		err = columns(&a.Number, &a.Start, &a.Path, &a.Stored, &a.CRC32, &a.CompressedSize, &a.Size)
		return a, err
	}, archivedStatement, operation, from, to)
}

const forgetArchivedStatement = `
delete from transfers.archived
where  operation = $1`

func (s store) forgetArchived(ctx context.Context, operation string) error {
	_, err := postgres.Exec(ctx, s.db, forgetArchivedStatement, operation)
	return err
}
