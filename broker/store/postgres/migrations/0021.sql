SELECT 1; -- 0021 is another branch's
