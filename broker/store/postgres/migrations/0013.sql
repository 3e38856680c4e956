-- Queues of the embedded transport get the delivery limit of this version: consumers count failures themselves now.

UPDATE transport.queues SET arguments = jsonb_set(arguments, '{x-delivery-limit}', '10000')
WHERE arguments -> 'x-delivery-limit' = '20';
