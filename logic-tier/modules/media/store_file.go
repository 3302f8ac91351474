package media

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
)

// growing is a file that is being appended to.
type growing struct {
	file
	digest []byte
	// stored is how many bytes its account keeps of its sort; 0 when not asked.
	stored int64
}

// Two that append to one file do so one after the other.
const lockFileStatement = `
select f.id, f.account, f.size, f.sha256, f.update_time, f.digest,
       case when $2 and f.account <> 0
            then (select coalesce(sum(o.size), 0)
                  from   media.file o
                  where  o.account = f.account
                    and  o.made = f.made
                    and  not o.removed)
            else 0
       end::bigint
from   media.file f
where  f.id = $1
  and  not f.removed
for    update`

func (s store) lockFile(ctx context.Context, tx *postgres.Tx, id int64, counted bool) (growing, bool, error) {
	return postgres.One(ctx, tx, func(columns func(...any) error) (g growing, err error) {
		err = columns(&g.id, &g.account, &g.size, &g.sha256, &g.updated, &g.digest, &g.stored)
		return g, err
	}, lockFileStatement, id, counted)
}

const growFileStatement = `
update media.file
set    size        = $2,
       digest      = $3,
       sha256      = $4,
       update_time = now()
where  id = $1
returning update_time`

func (s store) growFile(ctx context.Context, tx *postgres.Tx, g *growing) error {
	_, _, err := postgres.One(ctx, tx, func(columns func(...any) error) (struct{}, error) {
		return struct{}{}, columns(&g.updated)
	}, growFileStatement, g.id, g.size, g.digest, g.sha256)
	return err
}
