-- name: look
-- What a sweep may find to do. It says rather too much than too little, by one look at the beginning of an index for each.
SELECT EXISTS (
           SELECT FROM (SELECT FROM deliveries WHERE state IN ('pending', 'parked') AND expires_at <= now()
                        ORDER BY expires_at LIMIT 1) AS first
       ) OR EXISTS (
           SELECT FROM (SELECT FROM subscriptions WHERE consumed_by IS NOT NULL AND consumed_until <= now()
                        ORDER BY consumed_until LIMIT 1) AS first
       ) AS expired,
       EXISTS (SELECT FROM circuits WHERE awaited) AS awaited,
       EXISTS (
           SELECT FROM (SELECT FROM deliveries WHERE state = 'parked' AND due_at <= now() ORDER BY due_at LIMIT 1) AS first
       ) AS due,
       EXISTS (SELECT FROM (SELECT FROM gates WHERE held ORDER BY subscription_id LIMIT 1) AS first)
       OR EXISTS (SELECT FROM (SELECT FROM gates WHERE recalling ORDER BY subscription_id LIMIT 1) AS first) AS held,
       EXISTS (
           SELECT FROM (SELECT FROM deliveries WHERE ordering_key IS NOT NULL AND state = 'parked' AND reason = 'ordered'
                        ORDER BY subscription_id, ordering_key LIMIT 1) AS first
       ) AS ordered,
       EXISTS (
           SELECT FROM (SELECT FROM signals WHERE state = 'scheduled' AND due_at <= now() ORDER BY due_at LIMIT 1) AS first
       ) AS scheduled;
